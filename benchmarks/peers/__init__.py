"""What a user would take instead, each written as a capable user of that library would."""
