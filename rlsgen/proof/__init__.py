"""That it holds: what on a database would defeat the spec, what conversations see, and a page that shows both."""
