"""The parts of `cluster/netlab.py`: two network namespaces, a link between them, Ray on top, and what is run there."""
