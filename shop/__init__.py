"""The built-in example's operational side: a retail shop in PostgreSQL, made up or loaded from a real grocer.

Knows PostgreSQL and the platform's errors only: nothing of the lake, the warehouse or the pipeline that reads it.
"""
