"""Modules a child may still import although it can open no file: their code, kept in one shared mapping.

The zygote puts the source or byte code of pure-Python modules on the shelf; the mapping is file-backed and shared,
so a fork does not copy even its page tables. Importing from it runs the module in the child, like any import.
"""
import importlib.abc
import importlib.machinery
import importlib.util
import marshal
import mmap
import os
import sys
import sysconfig

SKIP = {"test", "tests", "idlelib", "lib2to3", "ensurepip", "turtledemo", "tkinter", "site-packages", "__pycache__", "lib-dynload",
        "distutils", "pydoc_data", "curses", "dbm", "msilib", "venv", "wsgiref", "xmlrpc"}


class Shelf(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    "A finder and loader over the mapping."

    def __init__(self): self.index, self.memory = {}, None

    def fill(self):
        "Read the standard library's pure modules that are not imported yet."
        fd = os.memfd_create("shelf")
        try:
            with os.fdopen(os.dup(fd), "wb") as f: at = self._write(f, sysconfig.get_path("stdlib"))
            self.memory = mmap.mmap(fd, max(at, 1), mmap.MAP_SHARED, mmap.PROT_READ)
        finally: os.close(fd)
        sys.meta_path.insert(2, self)          # after built-in and frozen modules, before the search of folders
        return self

    def _write(self, f, root):
        at = 0
        for folder, dirs, files in os.walk(root):
            dirs[:] = [d for d in dirs if d not in SKIP and not d.startswith("config-")]
            package = os.path.relpath(folder, root).replace(os.sep, ".")
            for name in files:
                if not name.endswith(".py"): continue
                stem = name[:-3]
                module = stem if package == "." else package if stem == "__init__" else f"{package}.{stem}"
                if module in sys.modules: continue
                path = os.path.join(folder, name)
                try: compiled, data = self._read(path)
                except OSError: continue
                self.index[module] = (at, len(data), compiled, stem == "__init__" and package != ".", path)
                f.write(data); at += len(data)
        return at

    @staticmethod
    def _read(path):
        "`(is byte code, bytes)` of a module: its up-to-date cache, else its source."
        try:
            with open(importlib.util.cache_from_source(path), "rb") as f: data = f.read()
            st = os.stat(path)
            if data[:4] == importlib.util.MAGIC_NUMBER and data[4:8] == b"\0\0\0\0" and \
                    data[8:16] == (int(st.st_mtime) & 0xFFFFFFFF).to_bytes(4, "little") + (st.st_size & 0xFFFFFFFF).to_bytes(4, "little"):
                return True, data[16:]
        except (OSError, NotImplementedError): pass
        with open(path, "rb") as f: return False, f.read()

    def find_spec(self, name, path=None, target=None):
        if name not in self.index: return None
        _, _, _, package, origin = self.index[name]
        spec = importlib.machinery.ModuleSpec(name, self, origin=origin, is_package=package)
        return spec

    def create_module(self, spec): return None

    def exec_module(self, module):
        at, n, compiled, _, origin = self.index[module.__name__]
        data = self.memory[at:at + n]
        module.__file__ = origin
        exec(marshal.loads(data) if compiled else compile(data, origin, "exec", dont_inherit=True), module.__dict__)
