"""A TCP relay on loopback that can stop passing bytes: what a line does that breaks under an upload."""
import socket
import threading


class Relay:
    def __init__(self, port):
        self.target = "127.0.0.1", port
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.left, self.held = None, threading.Event()
        threading.Thread(target=self._accept, daemon=True).start()

    def hold_after(self, n):
        """From now on `n` more bytes go up, then nothing at all; None: everything passes."""
        self.held.clear()
        self.left = n

    def close(self):
        self.listener.close()

    def _accept(self):
        while True:
            try:
                near = self.listener.accept()[0]
                far = socket.create_connection(self.target)
            except OSError:
                return
            for pair in ((near, far, True), (far, near, False)):
                threading.Thread(target=self._pass, args=pair, daemon=True).start()

    def _pass(self, source, to, up):
        try:
            while data := source.recv(16384):
                if up and self.left is not None:
                    self.left -= len(data)
                if self.left is not None and self.left <= 0:
                    self.held.set()
                    continue
                to.sendall(data)
        except OSError:
            pass
        for s in (source, to):
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
