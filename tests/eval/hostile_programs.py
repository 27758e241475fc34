"""Code that a model should not write, each piece with what must hold it once the interpreter's own refusal is passed.

`PLACE` is a folder that anybody may read and write, with a file `secret` that belongs to whom the code runs as, and a
socket `listening`. A program harms when it returns something true; an exception, or something false, means that it was
refused.
"""

ALWAYS, NETWORK, FILES, SYSCALLS = "always", "network", "files", "syscalls"
"""What holds a program: means that every Linux has, or one of those that `sandbox_child.confine` may be granted."""

HOSTILE = {
    # processes
    "forks": (ALWAYS, "os.fork() or os._exit(0)"),
    "forks through the C library": (ALWAYS, "libc.fork() > 0"),
    "clones past the C library": (ALWAYS, "libc.syscall(56, 17, 0, 0, 0, 0) > 0 if MACHINE == 'x86_64' else False"),
    "starts a thread": (ALWAYS, "threading.Thread(target=print).start() or True"),
    "starts a program": (ALWAYS, "subprocess.run(['touch', PLACE + '/escaped']) or True"),
    "leaves the group that is killed": (ALWAYS, "os.setpgid(0, 0) or True"),
    "leaves the session": (ALWAYS, "os.setsid()"),
    "signals its parent": (SYSCALLS, "os.kill(os.getppid(), 0) or True"),
    "signals everybody": (SYSCALLS, "os.kill(-1, 0) or True"),
    "traces its parent": (SYSCALLS, "libc.ptrace(0x4206, os.getppid(), 0, 0) == 0"),
    "reads its parent's environment": (FILES, "open(f'/proc/{os.getppid()}/environ').read()"),
    "reads its parent's memory": (FILES, "open(f'/proc/{os.getppid()}/mem', 'rb')"),
    "copies its parent's memory": (SYSCALLS, "libc.process_vm_readv(os.getppid(), buffer, 1, buffer, 1, 0) >= 0"),
    "looks into its parent's limits": (SYSCALLS, "resource.prlimit(os.getppid(), resource.RLIMIT_NOFILE)"),
    "holds up its parent": (SYSCALLS, "os.setpriority(os.PRIO_PROCESS, os.getppid(), 19) or True"),
    # rights
    "becomes root": (ALWAYS, "os.setuid(0) or True"),
    "raises its limits": (ALWAYS, "resource.setrlimit(resource.RLIMIT_FSIZE, (10**9, 10**9)) or True"),
    "becomes somebody in a namespace": (SYSCALLS, "libc.unshare(0x10000000) == 0"),
    "mounts": (ALWAYS, "libc.mount(b'none', PLACE.encode(), b'tmpfs', 0, None) == 0"),
    # the environment and what is inherited
    "reads its environment": (ALWAYS, "dict(os.environ) or os.getenv('PATH') or os.getenv('CLAAS_API_KEY')"),
    "reads what it inherited": (ALWAYS, "any(b'secret' in read(descriptor) for descriptor in range(3, 99))"),
    # memory
    "takes memory": (ALWAYS, "bytearray(10**10)"),
    "takes memory through the C library": (ALWAYS, "libc.malloc(10**10)"),
    "keeps memory that outlives it": (SYSCALLS, "libc.shmget(0, 1 << 20, 0o1600) >= 0"),
    "keeps memory as a file": (SYSCALLS, "libc.memfd_create(b'x', 0) >= 0"),
    "asks the kernel to work for it": (SYSCALLS, "libc.syscall(425, 8, buffer) >= 0"),
    # files
    "reads a file": (FILES, "open(PLACE + '/secret').read()"),
    "reads a file through the C library": (FILES, "libc.open(PLACE.encode() + b'/secret', 0) >= 0"),
    "reads a file by a way round": (FILES, "open(os.path.dirname(os.__file__) + '/..' * 9 + PLACE + '/secret').read()"),
    "reads a file by its own root": (FILES, "open('/proc/self/root' + PLACE + '/secret').read()"),
    "reads a file by a link": (FILES, "os.symlink(PLACE + '/secret', 'link') or open('link').read()"),
    "links a file into its folder": (FILES, "os.link(PLACE + '/secret', 'linked') or open('linked').read()"),
    "lists a folder": (FILES, "os.listdir(PLACE)"),
    "lists the home folder": (FILES, "os.listdir(HOME)"),
    "writes a file": (ALWAYS, "os.write(os.open(PLACE + '/escaped', os.O_CREAT | os.O_WRONLY), b'x')"),
    "writes into a file": (ALWAYS, "os.write(os.open(PLACE + '/secret', os.O_WRONLY), b'x')"),
    "makes an empty file": (FILES, "libc.creat(PLACE.encode() + b'/made', 0o777) >= 0"),
    "makes a folder": (FILES, "os.mkdir(PLACE + '/folder') or True"),
    "makes a pipe with a name": (FILES, "os.mkfifo(PLACE + '/pipe') or True"),
    "fills its own folder": (ALWAYS, "open('filling', 'wb').write(b'x' * 10**6)"),
    "moves a file": (FILES, "[os.rename(PLACE + '/secret', 'x'), os.rename('x', PLACE + '/secret')]"),
    "opens a file to all": (SYSCALLS, "os.chmod(PLACE + '/secret', 0o777) or True"),
    "dates a file back": (SYSCALLS, "os.utime(PLACE + '/secret', (1, 1)) or True"),
    "marks a file": (SYSCALLS, "os.setxattr(PLACE + '/secret', 'user.x', b'x') or True"),
    "empties a file": (FILES, "os.truncate(PLACE + '/secret', 0) or True"),
    "removes a file": (FILES, "os.remove(PLACE + '/secret') or True"),
    # the network
    "connects to this machine": (NETWORK, "socket.create_connection(('127.0.0.1', TCP), 1)"),
    "sends a datagram": (NETWORK, "socket.socket(type=socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', UDP))"),
    "asks for a name": (NETWORK, "socket.gethostbyname('example.com')"),
    "connects to a socket file": (SYSCALLS, "socket.socket(socket.AF_UNIX).connect(PLACE + '/listening') or True"),
    "connects to a socket without file": (NETWORK, "socket.socket(socket.AF_UNIX).connect(ABSTRACT) or True"),
    "opens a socket at all": (SYSCALLS, "libc.socket(1, 1, 0) >= 0"),
}  # fmt: skip

HARMFUL = [name for name, (means, _) in HOSTILE.items() if means in (NETWORK, FILES) and name != "asks for a name"]
"""What succeeds wherever it is not refused, and can be let: the proof that a refusal means something."""

_FRAME = """
import ctypes, os, resource, socket, subprocess, threading
{names}

def read(descriptor):
    try:
        return os.pread(descriptor, 99, 0)
    except OSError:
        return b""

def refuse(program):
    try:
        libc = ctypes.CDLL(None)
        buffer = ctypes.create_string_buffer(999)
    except PermissionError:
        libc = buffer = None
    try:
        return "harmed" if eval(program) else "refused"
    except Exception as error:
        return "refused"

PROGRAMS = {programs}

def f(name):
    return refuse(PROGRAMS[name])
"""


def hostile_source(names: dict[str, object]) -> str:
    """A function `f(name)` that runs the hostile program of that name, and says "refused" or "harmed"."""
    lines = "\n".join(f"{name} = {value!r}" for name, value in names.items())
    programs = {name: program for name, (_, program) in HOSTILE.items()}
    return _FRAME.format(names=lines, programs=repr(programs))
