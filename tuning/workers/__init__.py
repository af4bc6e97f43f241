"""Workers: the processes and Ray actors that train, their messages and limits, and the pools that
start and replace them.
"""
