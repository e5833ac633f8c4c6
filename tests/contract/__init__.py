"""What every implementation of a contract has to keep, checked against all of them."""
