"""The cases, one a row, by what they are about. Data only."""
