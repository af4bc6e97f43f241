"""What a model predicts of a row: the contract of a target, one module for each kind, and the table
of the kinds. Imports base alone; predictions need NumPy alone.
"""
