"""The alternatives to this program, each written as an experienced user of the library would."""
