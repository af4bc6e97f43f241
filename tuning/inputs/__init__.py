"""What a model reads of a text: token ids, n-grams, the tokens of a pretrained encoder, or the text
itself. Each kind is one module, and `kinds` lists them.
"""
