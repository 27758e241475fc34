"""The SDPO update, free of servers, engines and vendors: hindsight prompt, loss, alignment, optimiser steps."""
