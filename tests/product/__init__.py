"""What the product promises, shown with the real thing: processes, real sockets, figures taken from outside."""
