"""``asyncio-loader doctor``: looks at everything between this process and its data, and says what to do."""
