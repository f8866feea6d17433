"""The commands. The only room that prints, and none of it ever loads gevent: the load runs in a child."""
