"""Which entry of a checkpoint holds the model: wrappers, averaged weights, prefixes of wrappers.

Training code saves a state dict beside its optimizer, counters and averaged weights, under names of
its own. What the library that wrote a file would load is taken; where nothing tells, the user is
asked for the entry.
"""

from .values import CheckpointError, Inert, Symbol, Tensor, describe, enumerate_names

# Wrappers whose meaning is known, in the order in which timm and DINO load them
WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model", "model_state_dict", "teacher",
            "student")
AVERAGED = ("state_dict_ema", "model_ema")
# Entries beside state_dict whose library has put the averaged weights into state_dict itself
SWAPPED = {"ema_state_dict": "mmengine", "current_model_state": "Lightning"}
# Modules that wrap another and change nothing: DataParallel, torch.compile, FSDP, Lightning Fabric
TRANSPARENT = {"module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module",
               "_forward_module"}
BODIES = ("patch_embed", "features.1.0.attn.")  # what the names of every Swin model contain
MAX_NESTING = 8                 # of entries around the tensors
MAX_ITEMS = 64                  # of a list that are looked into
MANY = 10                       # tensors in a list, of a model perhaps
MAX_REMARKS = 4                 # on entries that are not taken
ALL_ENTRIES = 20                # named in a sentence


def is_optimizer(path):
    """Optimizers keep numbers for each tensor, some under the tensors' own names."""
    return any("optim" in key.lower() for key in path)


def is_state(value):
    return isinstance(value, dict) and any(
        isinstance(name, str) and isinstance(part, Tensor) for name, part in value.items())


def parts(value):
    """The entries of a dict or list by name."""
    if isinstance(value, dict):
        return {key: part for key, part in value.items() if isinstance(key, str)}
    if isinstance(value, (list, tuple)):
        return {str(n): part for n, part in enumerate(value[:MAX_ITEMS])}
    return {}


def find_states(root):
    """All mappings of names to tensors in an object: path -> mapping."""
    return {path: value for path, value in nested(root) if is_state(value)}


def nested(root):
    """(path, value) of an object and of all dicts and lists in it, however recursive, once."""
    seen, level = {id(root)}, {(): root}
    for _ in range(MAX_NESTING):
        yield from level.items()
        below = {}
        for path, value in level.items():
            for key, part in parts(value).items():
                if isinstance(part, (dict, list, tuple)) and id(part) not in seen:
                    seen.add(id(part))
                    below[(*path, key)] = part
        level = below


def rank(path):
    """The place of an entry in the order of known ones; the file itself is the last of them."""
    return [WRAPPERS.index(key) for key in path] or [len(WRAPPERS)]


def choose(states):
    """The path of the model among those of find_states, and those of the other models."""
    others = [path for path in states if not is_optimizer(path)]
    models = [path for path in others if any(
        body in name for name in states[path] if isinstance(name, str) for body in BODIES)]
    models = models or others or list(states)
    known = sorted((path for path in models if set(path) <= set(WRAPPERS)), key=rank)
    if not known and len(models) > 1:
        raise CheckpointError(f"{len(models)} entries hold tensors, and nothing tells which is the "
                              f"model: give --entry with one of {names_of(models)}")
    chosen = known[0] if known else models[0]
    return chosen, [path for path in models if path not in (chosen, ())]


def names_of(paths):
    return enumerate_names([".".join(path) or "(the file itself)" for path in paths], ALL_ENTRIES)


def follow(root, entry):
    """Walks from an object along a dotted path: the keys passed, what is there, what is left of
    the path."""
    passed = []
    while entry:
        keys = [key for key, part in parts(root).items() if isinstance(part, (dict, list, tuple))
                and (entry + ".").startswith(key + ".")]
        if not keys:
            break
        key = max(keys, key=len)
        root, entry = parts(root)[key], entry[len(key) + 1:]
        passed.append(key)
    return passed, root, entry


def remarks_on(chosen, others):
    """What the user should know of the entry taken and of those left."""
    taken = ".".join(chosen) or "the file's own tensors"
    remarks = []
    for path in others[:MAX_REMARKS]:
        name = ".".join(path)
        why, other = "", "takes those"
        if chosen[-1:] and chosen[-1] in AVERAGED:
            why, other = ", averaged weights, as timm loads them", "takes the others"
        elif path[-1] in SWAPPED and chosen[-1:] == ("state_dict",):
            why = f", into which {SWAPPED[path[-1]]} puts the averaged weights"
            other = "takes those that are not averaged"
        remarks.append(f"{taken} is taken{why}; {name} holds weights too: --entry {name} {other}")
    return remarks


def remarks_on_lists(root):
    """What the user should know of averaged weights that were saved without their names."""
    return [f"{'.'.join(path)} holds {len(value)} tensors without names, which cannot be taken: if "
            "they are averaged weights, copy them into the model with the code that saved them, "
            "and save its state_dict()"
            for path, value in nested(root) if isinstance(value, (list, tuple))
            and len(value) >= MANY and all(isinstance(part, Tensor) for part in value)
            and not is_optimizer(path)][:MAX_REMARKS]


def open_wrappers(names):
    """Names without the modules that wrap others and change nothing: old -> new, and what was
    removed. Names stay as they are where two would become one."""
    new = {name: ".".join(part for part in name.split(".") if part not in TRANSPARENT)
           for name in names if name not in TRANSPARENT}
    if len(set(new.values())) < len(names):
        return {name: name for name in names}, []
    gone = {part for name in names for part in name.split(".") if part in TRANSPARENT}
    return new, sorted(part + "." for part in gone)


class Entry:
    """The tensors of a model in the object that a file holds.

    asked: the entry that the user names, a path of keys and prefixes with dots between, or None.
    """

    def __init__(self, root, asked=None):
        self.wrappers = []              # what was peeled off, outermost first
        self.others = []                # names of entries that hold no tensors, or were not taken
        self.remarks = []               # sentences on the entries that hold weights too
        self.meta = {}                  # the meta entry of mmseg's files
        passed, inner, prefix = follow(root, asked)
        states = find_states(inner)
        if not states:
            self.refuse(inner)
        chosen, others = choose(states)
        if not asked:
            self.remarks = remarks_on(chosen, others) + remarks_on_lists(root)
        state = self.descend(root, [*passed, *chosen])
        self.tensors = self.take(state)
        if prefix:
            self.narrow(asked, prefix, find_states(root))

    def refuse(self, root):
        if not isinstance(root, dict):
            whole = ("; a model that was pickled whole needs its own code to be read"
                     if isinstance(root, Inert) else "")
            raise CheckpointError(f"holds {describe(root)} where a mapping of names to tensors "
                                  f"should be{whole} (save a model's state_dict())")
        objects = [f"{key} is {describe(value)}" for key, value in root.items()
                   if isinstance(value, Inert)]
        has = "; it has " + enumerate_names(list(root)) if root else ""
        raise CheckpointError("holds no tensors" + has + (
            f"; {objects[0]}: save the model's state_dict() instead" if objects else ""))

    def descend(self, root, path):
        """Follows a path and keeps account of what lies beside it."""
        for key in path:
            if isinstance(root, dict) and isinstance(root.get("meta"), dict):
                self.meta = root["meta"]
            beside = root if isinstance(root, dict) else parts(root)
            self.others += [str(name) for name in beside if name not in (key, "meta")]
            self.wrappers.append(key)
            root = parts(root)[key]
        if isinstance(root.get("meta"), dict):
            self.meta = root["meta"]
        return root

    def take(self, state):
        """The tensors of a state dict, without the modules that only wrap others."""
        tensors = {name: value for name, value in state.items()
                   if isinstance(name, str) and isinstance(value, Tensor)}
        for name, value in state.items():
            if name not in tensors:
                refuse_special(name, value)
                self.others.append(str(name))
        names, gone = open_wrappers(tensors)
        self.wrappers += gone
        return {names[name]: tensor for name, tensor in tensors.items()}

    def narrow(self, asked, prefix, states):
        """Keeps what stands behind a prefix of the names."""
        kept = {name[len(prefix) + 1:]: tensor for name, tensor in self.tensors.items()
                if name.startswith(prefix + ".")}
        if not kept:
            raise CheckpointError(f"--entry {asked}: there is no such entry; tensors are in "
                                  f"{names_of(states)}, with names that begin with "
                                  + enumerate_names(first_parts(self.tensors), ALL_ENTRIES))
        self.others += [part for part in first_parts(self.tensors)
                        if not (prefix + ".").startswith(part + ".")]
        self.wrappers.append(prefix + ".")
        self.tensors = kept


def first_parts(names):
    return sorted({name.partition(".")[0] for name in names})


def refuse_special(name, value):
    """Refuses what stands for a tensor in a state dict but holds no plain numbers."""
    maker = value.made_by if isinstance(value, Inert) else None
    if isinstance(maker, Symbol) and "_rebuild_" in maker.name and maker.module[:5] == "torch":
        kind = {"_rebuild_qtensor": "quantised", "_rebuild_sparse_tensor": "sparse",
                "_rebuild_meta_tensor_no_storage": "empty (of the device meta)"}.get(
                    maker.name, "special")
        raise CheckpointError(f"{str(name)[:80]} is a {kind} tensor ({maker}): convert the model "
                              "as it was trained, with plain floating-point weights")
