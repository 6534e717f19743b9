"""What a live cluster answered, a folder for each release, and the program that asks."""
