"""The library that every other room of the house uses; it imports none of them."""
