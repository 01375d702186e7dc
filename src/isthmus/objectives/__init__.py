"""What training minimises: bounds, penalties, corruptions, schedules and the objective itself."""
