"""The SDPO update, free of servers, engines and vendors: losses, alignment, optimiser steps."""
