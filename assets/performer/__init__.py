"""The offline performer: a rendered person for pictures with exact truth. Not needed to run visavis."""
