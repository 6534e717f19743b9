"""The real things that tests run against: each bed starts what it needs in a folder of its own and stops it again."""
