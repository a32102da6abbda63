"""`banter model trace`: what a model sees and says, to be held against the code that it comes from."""
