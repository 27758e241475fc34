"""From records to intervals, rulings and the summary."""
