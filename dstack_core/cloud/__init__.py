"""What every backend of machines that are other computers needs, in words that name no cloud."""
