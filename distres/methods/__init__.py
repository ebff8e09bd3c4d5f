"""One module a method: parameters in, tile jobs run, a Dataset out."""
