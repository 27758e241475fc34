"""The local engine on a rented GPU: an app that the user deploys to Modal, and the engine here that asks it."""
