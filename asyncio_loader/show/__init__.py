"""``asyncio-loader show``: what a config's pipeline really feeds to the model, as a picture."""
