"""The parts of `tools/install_detectron2.py`; standard library only."""
