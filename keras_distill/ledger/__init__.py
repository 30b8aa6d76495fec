"""Where the recall went: teacher, student, export and index measured one after the other."""
