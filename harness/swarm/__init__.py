"""The shells: the only room that imports gevent, Locust and websocket-client. Sessions think, this room does.

Whatever may be imported first in a process imports `locust` before anything else: it patches the standard library.
"""
