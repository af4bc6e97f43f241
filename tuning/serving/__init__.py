"""The parts of `tuning.serve`: what a request may be, how requests share a model, which words moved a label, and the pages."""
