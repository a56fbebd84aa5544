"""Pictures for people: contact sheets of images with what is marked in them. Needs Pillow and no display."""
