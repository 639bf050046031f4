"""One self-contained HTML page that holds forecasts against what happened: `page.write(Contents(...), path)`."""
