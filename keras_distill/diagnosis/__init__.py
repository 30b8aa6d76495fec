"""Task losses on (labels, embeddings) and teacher losses on (teacher, student) outputs."""
