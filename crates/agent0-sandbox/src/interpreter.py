# Prints as JSON which files this interpreter needs, and which belong to the packages named in the arguments (those that may be missing,
# those that may not). Run in isolated mode, so neither the environment nor the current folder has a say.
import sys

if sys.version_info < (3, 10):
    sys.exit("it is Python %d.%d, and 3.10 is the oldest that works" % sys.version_info[:2])
import ctypes, glob, importlib.metadata as metadata, json, os, re, sysconfig

PLACES = [place for place in sys.path if os.path.basename(place) in ("site-packages", "dist-packages") and os.path.isdir(place)]


def distributions(name):
    """What is installed under a name, be it a distribution's or a module's."""
    try:
        return [metadata.distribution(name)]
    except metadata.PackageNotFoundError:
        return [metadata.distribution(owner) for owner in set(metadata.packages_distributions().get(name, []))]


def requirements(distribution):
    """The names of what it requires. Conditions on the system are passed over: what is not needed is not installed."""
    wanted = [r for r in distribution.requires or [] if not re.search(r";.*\bextra\s*==", r)]
    return [re.match(r"[\w.-]+", r).group() for r in wanted]


def files(distribution):
    """The files and folders of the first level that are its own."""
    if distribution.files is not None:
        names = {file.parts[0] for file in distribution.files} - {"..", "/", "__pycache__"}
        return {str(distribution.locate_file(name)) for name in names}
    names = (distribution.read_text("top_level.txt") or distribution.metadata["Name"]).split()
    return {path for place in PLACES for name in names for path in glob.glob(os.path.join(glob.escape(place), name + "*"))}


def closure(names):
    """Files of the named packages and of all that they require."""
    seen, paths, waiting = set(), set(), list(names)
    while waiting:
        name = waiting.pop()
        if name not in seen:
            seen.add(name)
            for distribution in distributions(name):
                paths |= files(distribution)
                waiting += requirements(distribution)
    return sorted(path for path in paths if os.path.exists(path))


usual, extra = (names.split() for names in sys.argv[1:])
missing = [name for name in extra if not distributions(name)]
if missing:
    sys.exit("it has no package %s; install it there, or leave the name out" % " and no package ".join(missing))
libraries = [os.path.join(sys.base_prefix, "lib"), os.path.join(sys.base_prefix, "lib64")]
libraries += [sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib", vars={"platbase": sys.base_exec_prefix})]
print(json.dumps({
    "executable": os.path.realpath(getattr(sys, "_base_executable", None) or sys.executable),
    "prefix": os.path.realpath(sys.base_prefix),
    "libraries": [path for path in libraries if os.path.isdir(path)],
    "places": [os.path.realpath(place) for place in PLACES],
    "packages": closure(usual + extra),
}))
