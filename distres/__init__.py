"""Local resolution of cryo-EM maps and tomograms of any size, on any number of computers."""

__version__ = "0.1.0"
