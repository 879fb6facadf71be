"""Stock glayout, with the same geometry, at about a tenth of its time. Runs in the layout interpreter only.

    from grpo_lab.layout import fast
    fast.load()                     # imports glayout with the patches on
    from glayout import nmos, sky130

Where stock builds spend their time, and what stands here instead:

- gdsfactory's `@cell` serialises every argument (whole PDKs and components) into names and metadata, three times a
  call. `light_cell` calls the same function with the same checks, decorator and locking, and names cells by a counter.
- every port is copied through a full constructor that snaps it to the grid with general numpy calls; the copies here
  compute the same numbers with fewer steps.
- `ComponentReference.ports` recomputes every port at every look; here it is one matrix operation, and renaming ports
  looks twice in all instead of three times for each.

- via stacks, fingers and rings are built again and again with the same arguments: `_memo` hands out fresh copies.

Nothing here changes a shape: tests/test_layout_fast.py builds varied layouts both ways and demands XOR = 0.
"""
import functools
import inspect
import itertools
import sys

_loaded = False


def load() -> None:
    "Import glayout with the patches on. Calling it again does nothing."
    global _loaded
    if _loaded:
        return
    import os
    import warnings
    os.environ.setdefault("PDK_ROOT", "/")  # unset, glayout.sky130 is silently None
    warnings.filterwarnings("ignore")
    from loguru import logger
    logger.remove()  # gdsfactory announces every PDK activation
    import gdsfactory  # noqa: F401
    _patch_snap()
    _patch_ports()
    _patch_cell()
    import glayout  # noqa: F401  its own cells are decorated with the light one while it imports
    import glayout.cells  # noqa: F401
    _patch_rename()
    _patch_memo()
    _sweep()
    _loaded = True


# ---- names that other modules imported before the patch ------------------------------------------------------------

_replaced: dict = {}  # id of the stock object -> (stock object, its replacement)


def _replace(old, new) -> None:
    _replaced[id(old)] = (old, new)


def _sweep() -> None:
    "Put the replacements wherever a gdsfactory or glayout module holds the stock object under a name."
    for name, module in list(sys.modules.items()):
        if module is None or name.partition(".")[0] not in ("gdsfactory", "glayout"):
            continue
        for key, value in list(vars(module).items()):
            hit = _replaced.get(id(value))
            if hit is not None and hit[0] is value:
                setattr(module, key, hit[1])


# ---- snap_to_grid --------------------------------------------------------------------------------------------------

def _patch_snap() -> None:
    import gdsfactory.snap
    import numpy as np
    from gdsfactory.pdk import get_grid_size

    stock, rint, asarray, cache = gdsfactory.snap.snap_to_grid, np.rint, np.asarray, {}
    scalars = (int, float, str, np.float_)

    def snap_to_grid(x, grid_factor: int = 1):
        grid = get_grid_size()
        nm = cache.get((grid, grid_factor))
        if nm is None:
            nm = cache[grid, grid_factor] = int(grid * 1000 * grid_factor)
        y = nm * rint(asarray(x, dtype=float) * 1e3 / nm) / 1e3
        if isinstance(x, tuple):
            return tuple(y)
        if isinstance(x, scalars):
            return float(y)
        return y

    functools.update_wrapper(snap_to_grid, stock)
    _replace(stock, snap_to_grid)
    _sweep()


# ---- ports ---------------------------------------------------------------------------------------------------------

def _patch_ports() -> None:
    from collections.abc import Mapping

    import numpy as np
    from gdsfactory.component import Component
    from gdsfactory.component_reference import ComponentReference, _rotate_points
    from gdsfactory.pdk import get_grid_size
    from gdsfactory.port import Port
    from gdsfactory.snap import snap_to_grid

    new, array = Port.__new__, np.array

    def copies(ports, name=None):
        "Copies as Port.copy makes them, without the constructor's checks of values it has checked already."
        nm = int(get_grid_size() * 1000)
        for port in ports:
            values = port.__dict__.copy()
            try:  # snap_to_grid of two numbers, without numpy's overhead
                x, y = values["center"].tolist() if type(values["center"]) is np.ndarray else values["center"]
                values["center"] = array((nm * round(x * 1e3 / nm) / 1e3, nm * round(y * 1e3 / nm) / 1e3))
                plain = values["width"] >= 0 and values["layer"] is not None and type(port) is Port
            except (TypeError, ValueError, OverflowError):
                plain = False
            if not plain:
                yield stock_copy(port, name)
                continue
            values.pop("reference", None)
            if values["orientation"]:
                values["orientation"] = values["orientation"] % 360
            if type(values["layer"]) is list:
                values["layer"] = tuple(values["layer"])
            if name:
                values["name"] = name
            port = new(Port)
            port.__dict__ = values
            yield port

    stock_copy = Port.copy
    Port.copy = lambda self, name=None: next(copies((self,), name))
    Port.copy.__name__ = "copy"
    Port._copy = lambda self: self.copy()

    def add_ports(self, ports, prefix="", suffix="", **kwargs):
        "Component.add_ports, many at a time."
        ports = list(ports.values() if isinstance(ports, Mapping) else ports)
        if kwargs or not all(isinstance(port, Port) for port in ports):
            return stock_add_ports(self, ports, prefix, suffix, **kwargs)
        mine = self.ports
        for port, copy in zip(ports, copies(ports)):
            name = copy.name = f"{prefix}{port.name}{suffix}"
            copy.parent = self
            if name in mine:
                raise ValueError(f"add_port() Port name {name!r} exists in {self.name!r}")
            mine[name] = copy

    def add_port(self, name=None, *args, port=None, **kwargs):
        "Component.add_port; the plain case, a copy of a port under its own name, without what the others need."
        if name is not None or args or kwargs or type(port) is not Port:
            return stock_add_port(self, name, *args, port=port, **kwargs)
        copy = next(copies((port,)))
        copy.parent = self
        if copy.name in self.ports:
            raise ValueError(f"add_port() Port name {copy.name!r} exists in {self.name!r}")
        self.ports[copy.name] = copy
        return copy

    stock_add_port = Component.add_port
    Component.add_port = add_port
    stock_add_ports = Component.add_ports
    Component.add_ports = add_ports

    def __init__(self, component, *args, **kwargs):
        "The stock constructor, with its copies of the component's ports made together."
        own, component_ports = component.ports, {}
        component.ports = component_ports
        try:
            stock_init(self, component, *args, **kwargs)
        finally:
            component.ports = own
        self._local_ports = dict(zip(own, copies(own.values())))

    stock_init = ComponentReference.__init__
    ComponentReference.__init__ = __init__

    def ports(self):
        "The reference's ports, moved as the reference is: one matrix operation for all of them."
        own, local = self.parent.ports, self._local_ports
        if own:
            points = array([port.center for port in own.values()], dtype=float)
            rotation, flip, origin = float(self.rotation), self.x_reflection, array(self.origin)
            if flip:
                points[:, 1] = -points[:, 1]
            points = _rotate_points(points, angle=rotation, center=[0, 0]) + origin
            for (name, port), center in zip(list(own.items()), points):
                mine = local.get(name)
                if mine is None:
                    mine = local[name] = port.copy()
                mine.center = center
                angle = port.orientation
                mine.orientation = None if angle is None else ((-angle if flip else angle) + rotation) % 360
                mine.parent = mine.reference = self
        if len(local) != len(own):
            for name in [name for name in local if name not in own]:
                local.pop(name)
        return local

    ComponentReference.ports = property(ports)

    def assert_ports_on_grid(self, grid_factor: int = 1) -> None:
        "The stock assertion for all ports at once; the stock one speaks where it fails."
        if not self.ports:
            return
        centers = array([port.center for port in self.ports.values()], dtype=float)
        snapped = snap_to_grid(centers, grid_factor=grid_factor)
        if not (abs(centers - snapped) <= 1e-8 + 1e-5 * abs(snapped)).all():
            stock_assert(self, grid_factor)

    stock_assert = Component.assert_ports_on_grid
    Component.assert_ports_on_grid = assert_ports_on_grid


def _patch_rename() -> None:
    """glayout renames the ports of a reference one by one and looks at `.ports` three times for each: quadratic.

    Looking recreates a renamed port from the parent's and drops names the parent does not have; this does the same in
    one pass.
    """
    from typing import Callable, Union

    from gdsfactory.component import Component
    from gdsfactory.component_reference import ComponentReference
    from gdsfactory.port import Port
    from glayout.util import port_utils
    from pydantic import validate_arguments

    stock = port_utils.rename_component_ports
    by_orientation = port_utils.rename_ports_by_orientation__call
    raw_by_orientation = by_orientation.raw_function

    @validate_arguments
    def rename_component_ports(custom_comp: Union[Component, ComponentReference],
                               rename_function: Callable[[str, Port], str]) -> Union[Component, ComponentReference]:
        if rename_function is by_orientation:
            rename_function = raw_by_orientation  # its arguments are a name and a port already
        local, pairs = custom_comp.ports, []
        for name, port in local.items():
            if name != port.name:
                raise ValueError("component may have an invalid ports dict")
            pairs.append((name, rename_function(name, port)))
        if not isinstance(custom_comp, ComponentReference):
            for old, name in pairs:
                if old not in local:
                    raise KeyError("name " + str(old) + " not in component ports")
                port = local.pop(old)
                port.name = name
                local[name] = port
            return custom_comp
        own = custom_comp.parent.ports
        for old, name in pairs:
            port = local.pop(old)
            port.name = name
            local[old] = own[old].copy()
            if name in own:
                local[name] = port
        custom_comp.ports  # moves the copies to where the reference is
        return custom_comp

    _replace(stock, rename_component_ports)


# ---- parts that are built again and again -----------------------------------------------------------------------------

def _patch_memo() -> None:
    "Via stacks, fingers and rings come back as fresh copies when they are asked for with the same plain arguments again."
    for module, names in (("via_gen", "via_stack via_array"), ("guardring", "tapring"), ("mimcap", "mimcap"),
                          ("fet", "__gen_fingers_macro multiplier nmos pmos")):
        for name in names.split():
            stock = getattr(sys.modules[f"glayout.primitives.{module}"], name)
            _replace(stock, _memo(stock))


remembered_parts: dict = {}  # name of the function -> {its frozen arguments: what it built}


def _memo(func):
    "func, remembering flat results by arguments. Every caller gets a component of its own, as if it had been built for it."
    import copy

    import numpy as np
    from gdsfactory.component import Component
    from gdsfactory.pdk import get_active_pdk
    from gdsfactory.port import Port
    from glayout.pdk.mappedpdk import MappedPDK

    plain = (int, float, bool, str, type(None), np.float64)
    known = remembered_parts[func.__name__] = {}

    def freeze(value):
        if isinstance(value, plain):
            return type(value), value
        if isinstance(value, (tuple, list)):
            return (type(value), *map(freeze, value))
        if isinstance(value, MappedPDK):
            return id(value), value.gds_write_settings.precision
        raise TypeError

    def clone(source):
        component = Component()
        if isinstance(source.__dict__.get("_from_light_cell"), bool):
            component.name = f"{func.__name__}_{next(_counter)}"
        component._cell = source._cell.copy(component.name)
        for name, port in source.ports.items():
            copied = Port.__new__(Port)
            copied.__dict__ = {**port.__dict__, "center": port.center.copy(), "info": dict(port.info), "parent": component}
            component.ports[name] = copied
        for name in ("_locked", "_from_light_cell", "__doc__"):
            if name in source.__dict__:
                setattr(component, name, source.__dict__[name])
        component.info = copy.deepcopy(source.info)
        component.settings = copy.copy(source.settings)
        return component

    @functools.wraps(func)
    def remembered(*args, **kwargs):
        try:
            active = get_active_pdk()
            key = (id(active), active.gds_write_settings.precision, tuple(map(freeze, args)),
                   tuple((name, freeze(kwargs[name])) for name in sorted(kwargs)))
            hit = known.get(key)
        except (TypeError, AttributeError):
            return func(*args, **kwargs)
        if hit is not None:
            source, pdk = hit
            if get_active_pdk() is not pdk:
                pdk.activate()
            return clone(source)
        result = func(*args, **kwargs)
        if (type(result) is Component and not result.references and not hasattr(result, "child") and not _KNOWN_KEYS & kwargs.keys()
                and all(type(port.center) is np.ndarray for port in result.ports.values())):
            known[key] = clone(result), get_active_pdk()
        return result

    return remembered


# ---- the @cell decorator -------------------------------------------------------------------------------------------

_counter = itertools.count()
_KNOWN = ("assert_ports_on_grid", "with_hash", "autoname", "name", "cache", "flatten", "info", "prefix",
          "max_name_length", "include_module")
_KNOWN_KEYS = {*_KNOWN, "decorator"}


def light_cell_without_validator(func):
    "gdsfactory's cell_without_validator without serialising the arguments: same call, same checks, counted names."
    from gdsfactory.cell import CellReturnTypeError, Settings
    from gdsfactory.component import Component
    from gdsfactory.pdk import get_active_pdk

    parameters = inspect.signature(func).parameters
    open_ended = bool({"args", "kwargs", "settings"} & set(parameters))

    @functools.wraps(func)
    def _light_cell(*args, **kwargs):
        pdk = get_active_pdk()
        settings = pdk.cell_decorator_settings
        given = {key: kwargs.pop(key) for key in _KNOWN if key in kwargs}
        decorator = kwargs.pop("decorator", pdk.default_decorator)
        if not open_ended:
            for key in kwargs:
                if key not in parameters:
                    raise TypeError(f"{func.__name__!r}() got invalid argument {key!r}\n"
                                    f"valid arguments are {list(parameters)}")
        component = func(*args, **kwargs)
        if given.get("assert_ports_on_grid", settings.assert_ports_on_grid):
            component.assert_ports_on_grid()
        if given.get("flatten", settings.flatten):
            component = component.flatten()
        if getattr(component, "_from_light_cell", False):  # another cell's result: a copy, as both may be changed
            component = component.copy()
        if not isinstance(component, Component):
            raise CellReturnTypeError(f"function {func.__name__!r} return type = {type(component)}",
                                      "make sure that functions with @cell decorator return a Component")
        name = given.get("name") or settings.name or f"{given.get('prefix') or func.__name__}_{next(_counter)}"
        if given.get("autoname", settings.autoname) and not hasattr(component, "imported_gds"):
            component.name = name
        if component.info is None:
            component.info = {}
        component.info.update(**given.get("info", settings.info))
        if not hasattr(component, "imported_gds"):
            arguments = dict(zip(parameters, args))
            arguments.update(kwargs)
            component.settings = Settings.model_construct(name=name, function_name=func.__name__, module=func.__module__,
                                                          changed=arguments, full=arguments, info=component.info)
            component.__doc__ = func.__doc__
        if decorator:
            if not callable(decorator):
                raise ValueError(f"decorator = {type(decorator)} needs to be callable")
            component = decorator(component) or component
        component.lock()
        component._from_light_cell = True
        return component

    return _light_cell


def light_cell(func):
    "gdsfactory's cell: arguments validated against the annotations, then light_cell_without_validator."
    from pydantic import validate_call
    return light_cell_without_validator(validate_call(func))


def _patch_cell() -> None:
    stock = sys.modules["gdsfactory.cell"]  # the package holds a function under the same name
    code = stock.cell_without_validator(lambda: None).__code__  # what every stock cell runs
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] != "gdsfactory" or module is None:
            continue
        for value in list(vars(module).values()):
            if getattr(value, "__code__", None) is code and id(value) not in _replaced:
                _replace(value, light_cell_without_validator(value.__wrapped__))
    _replace(stock.cell, light_cell)
    _replace(stock.cell_without_validator, light_cell_without_validator)
    _sweep()
