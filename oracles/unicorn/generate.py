#!/usr/bin/env python3
"""Asks unicorn what instructions of privilege level 0 and of real mode do, and writes that down as test vectors.

    python3 oracles/unicorn/generate.py > oracles/native/tests/vectors/system.jsonl

Unicorn (PyPI `unicorn` 2.1.4, GPL-2.0) is QEMU 5's TCG without devices. It only answers here; nothing of it is in the
output, and nothing of ours links to it. See README.md for the format and for what is left out.
"""

import json
import random
import struct
import sys

import unicorn
from unicorn import x86_const as x

MEMORY = 0x20_0000
GDT, LDT, IDT = 0x8000, 0x9000, 0xA000
GPRS = ["eax", "ecx", "edx", "ebx", "esp", "ebp", "esi", "edi"]
SEGMENTS = ["es", "cs", "ss", "ds", "fs", "gs"]
CONTROL = ["cr0", "cr2", "cr3", "cr4"]
IDS = {name: getattr(x, f"UC_X86_REG_{name.upper()}") for name in GPRS + SEGMENTS + CONTROL + ["eip", "eflags"]}
# Status, IF, DF, IOPL and NT; RF, VM and the rest do not come up.
FLAGS = 0x7ED5 | 2
LONG_IDS = IDS | {name: getattr(x, f"UC_X86_REG_R{name[1:].upper()}") for name in GPRS + ["eip"]}
LONG_IDS |= {"fs_base": x.UC_X86_REG_FS_BASE, "gs_base": x.UC_X86_REG_GS_BASE}
LONG_IDS |= {f"r{number}": getattr(x, f"UC_X86_REG_R{number}") for number in range(8, 16)}
EFER = 0xC000_0080
rng = random.Random(386)
vectors = []


def descriptor(base, limit, access, flags=4):
    low = limit & 0xFFFF | (base & 0xFFFFFF) << 16
    return low | access << 40 | (limit >> 16 & 15) << 48 | flags << 52 | (base >> 24) << 56


# Index in the GDT: what it is. All are present if not said otherwise. Data is not yet accessed; code is, because QEMU does
# not set the bit in far transfers (Intel SDM vol. 3, 3.4.5.1 does).
TABLE = {
    1: descriptor(0, 0xFFFFF, 0x9B, 0xC),  # flat code
    2: descriptor(0, 0xFFFFF, 0x93, 0xC),  # flat data
    3: descriptor(0x2_0000, 0xFFFF, 0x9B, 0),  # 16-bit code
    4: descriptor(0x3_0000, 0xFFFF, 0x92, 0),  # 16-bit data
    5: descriptor(0x1_0000, 0xFFFF, 0x9B, 4),  # 32-bit code with a base
    6: descriptor(0x4_0000, 0x0FFF, 0x92, 4),  # short data
    7: descriptor(0x4_0000, 0x0FFF, 0x90, 4),  # read-only data
    8: descriptor(0x4_0000, 0x0FFF, 0x96, 4),  # expand-down data
    9: descriptor(0, 0xFFFFF, 0x99, 0xC),  # execute-only code
    10: descriptor(0, 0xFFFFF, 0x9F, 0xC),  # conforming code
    11: descriptor(0x4_0000, 0x0FFF, 0x12, 4),  # not present
    12: descriptor(0x5_0000, 0x0FFF, 0xF2, 4),  # data of level 3
    13: descriptor(0, 0xFFFFF, 0xFB, 0xC),  # code of level 3
    14: descriptor(LDT, 0x3F, 0x82, 0),  # a local table
    15: descriptor(0xC000, 0x67, 0x89, 0),  # an available TSS
    16: descriptor(0xC000, 0x67, 0x8B, 0),  # a busy TSS
    17: 0x1234 | 0x08 << 16 | 0x8C << 40,  # a call gate
    18: 0x1234 | 0x08 << 16 | 0x8E << 40,  # an interrupt gate: not in a GDT
    19: 0x1234 | 0x08 << 16 | 0x85 << 40,  # a task gate
    20: descriptor(0, 0xFFFF, 0x80, 0),  # reserved
    21: descriptor(0x7_0000, 0x0007, 0x92, 0xC),  # eight pages
    23: descriptor(0, 0xFFFFF, 0x9B, 0xA),  # 64-bit code
    22: 0x1100 | 0x08 << 16 | 0x8C << 40 | 1 << 48,  # a call gate to 0x11100
}
# Of 64-bit code only long mode knows.
SELECTORS = [index * 8 for index in TABLE if index != 23]


def gdt():
    table = bytearray(8 * 24)
    for index, value in TABLE.items():
        struct.pack_into("<Q", table, index * 8, value)
    return bytes(table)


def local_table():
    return b"".join(struct.pack("<Q", TABLE[index]) for index in (4, 6, 7, 12, 1, 3, 11, 2))


# The registers of a vector that says nothing else of them. The replay has the same.
COMMON = dict.fromkeys(GPRS, 0) | {"eflags": 2, "esp": 0x7000}
REAL = COMMON | dict(cs=0x1000, ss=0x2000, ds=0x3000, es=0x4000, fs=0x5000, gs=0x6000, eip=0x100)
PROTECTED = COMMON | dict(cs=8, ss=16, ds=16, es=16, fs=0, gs=0, eip=0x1_1000)
LONG = PROTECTED | dict(cs=0xB8) | {f"r{number}": 0 for number in range(8, 16)}
DEFAULTS = {"real": REAL, "protected": PROTECTED, "paged": PROTECTED, "pae": PROTECTED, "long": LONG}
# CR0 (with WP), CR3, CR4 and EFER.
CONTROLS = {
    "real": (0x10, 0, 0, 0),
    "protected": (0x11, 0, 0, 0),
    "paged": (0x8001_0011, 0x10_0000, 0x10, 0),
    "pae": (0x8001_0011, 0x10_0000, 0x20, 0x800),
    "long": (0x8001_0011, 0x10_0000, 0x20, 0xD01),
}


def page_tables(mode):
    """The first 2 MiB where they are, then a few pages of each kind at 4 MiB, and a large one at 8 MiB."""
    wide = mode != "paged"
    pages = {}

    def put(table, index, entry):
        size = 8 if wide else 4
        page = pages.setdefault(table, bytearray(0x1000))
        page[index * size : (index + 1) * size] = entry.to_bytes(size, "little")

    directory, low, tests = 0x10_0000, 0x10_4000, 0x10_5000
    if mode == "long":
        put(0x10_0000, 0, 0x10_1003)
        put(0x10_1000, 0, 0x10_2007)
        directory = 0x10_2000
    elif mode == "pae":
        put(0x10_0000, 0, 0x10_2001)
        directory = 0x10_2000
    entries = 512 if wide else 1024
    step = entries * 0x1000
    put(directory, 0, low | 7)
    put(directory, 0x40_0000 // step, tests | 7)
    put(directory, 0x80_0000 // step, 0x83)
    # Accessed and dirty already: unicorn looks at instructions before it executes them.
    for number in range(512):
        put(low, number, number << 12 | 0x63)
    # Read and write, read-only, the user's, the user's read-only, not present, not to be executed, already dirty.
    for number, bits in enumerate((3, 1, 7, 5, 6, 3 | (wide and 1 << 63), 0x63)):
        put(tests, number, 0x18_0000 + number * 0x1000 | bits)
    return pages


def vector(name, code, regs, mode, memory=(), count=1, cr0=None, tables=None):
    """One vector: `count` instructions of `code`."""
    mode = {False: "real", True: "protected"}.get(mode, mode)
    kind = {"real": unicorn.UC_MODE_16, "long": unicorn.UC_MODE_64}.get(mode, unicorn.UC_MODE_32)
    ids = LONG_IDS if mode == "long" else IDS
    uc = unicorn.Uc(unicorn.UC_ARCH_X86, kind)
    uc.mem_map(0, MEMORY)
    if mode != "real":
        uc.mem_write(GDT, gdt())
        uc.mem_write(LDT, local_table())
        uc.reg_write(x.UC_X86_REG_GDTR, (0, GDT, 8 * 24 - 1, 0))
        uc.reg_write(x.UC_X86_REG_LDTR, (14 * 8, LDT, 0x3F, 0x8200))
    state = DEFAULTS[mode] | regs
    for register in SEGMENTS:
        # CS is loaded at last: it decides on the level.
        if register != "cs" and not (mode != "real" and state[register] == 0):
            uc.reg_write(ids[register], state[register])
    uc.reg_write(ids["cs"], state["cs"])
    for register in [name for name in state if name not in SEGMENTS and name != "eip"]:
        uc.reg_write(ids[register], state[register])
    linear = state["cs"] * 16 + state["eip"] if mode == "real" else state["eip"]
    if tables or mode in ("paged", "pae", "long"):
        for at, page in page_tables(tables or mode).items():
            uc.mem_write(at, bytes(page))
    memory = [*memory, (linear, code)]
    for at, data in memory:
        uc.mem_write(at, bytes(data))
    first_cr0, cr3, cr4, efer = CONTROLS[mode]
    uc.msr_write(EFER, efer)
    uc.reg_write(IDS["cr4"], cr4)
    uc.reg_write(IDS["cr3"], cr3)
    uc.reg_write(IDS["cr0"], cr0 or first_cr0)
    first = {register: uc.reg_read(ids[register]) for register in ids if register not in state}
    image = bytes(uc.mem_read(0, MEMORY))
    faults = []
    uc.hook_add(unicorn.UC_HOOK_INTR, lambda uc, number, _: (faults.append(number), uc.emu_stop()))
    try:
        uc.emu_start(linear, MEMORY - 16, count=count)
    except unicorn.UcError as error:
        if error.errno == unicorn.UC_ERR_INSN_INVALID:
            faults.append(6)
        elif not faults:
            sys.stderr.write(f"{name}: {error}\n")
            return
    before = {key: value for key, value in state.items() if value != DEFAULTS[mode][key]}
    record = {"name": name, "mode": mode, "steps": count, "before": before}
    if cr0:
        record["before"]["cr0"] = cr0
    record["tables"] = tables
    record["memory"] = [[at, bytes(data).hex()] for at, data in memory]
    if faults:
        record["fault"] = faults[0]
    if faults == [14]:
        record["cr2"] = uc.reg_read(IDS["cr2"])
    if not faults:
        state |= first
        after = {key: uc.reg_read(ids[key]) for key in ids}
        after["eflags"] &= FLAGS
        state["eflags"] &= FLAGS
        descriptors = {"gdtr": uc.reg_read(x.UC_X86_REG_GDTR), "idtr": uc.reg_read(x.UC_X86_REG_IDTR)}
        for key, (_, base, limit, _) in descriptors.items():
            after[key + "_base"], after[key + "_limit"] = base, limit
            state[key + "_base"] = GDT if mode != "real" and key == "gdtr" else 0
            state[key + "_limit"] = 8 * 24 - 1 if mode != "real" and key == "gdtr" else 0
        state["efer"], after["efer"] = efer, uc.msr_read(EFER)
        record["after"] = {key: value for key, value in after.items() if value != state[key]}
        record["writes"] = differences(image, bytes(uc.mem_read(0, MEMORY)))
    vectors.append({key: value for key, value in record.items() if value})


def differences(old, new):
    found = []
    for page in range(0, MEMORY, 0x1000):
        if old[page : page + 0x1000] == new[page : page + 0x1000]:
            continue
        for at in range(page, page + 0x1000):
            if old[at] != new[at]:
                if found and found[-1][0] + len(found[-1][1]) == at:
                    found[-1][1].append(new[at])
                else:
                    found.append([at, bytearray([new[at]])])
    return [[at, data.hex()] for at, data in found]


def le(value, size):
    return (value & (1 << 8 * size) - 1).to_bytes(size, "little")


def some(size):
    return rng.getrandbits(8 * size)


def flags():
    return rng.getrandbits(16) & 0x7ED5 & ~0x100 | 2


def any_registers():
    return {name: some(4) for name in GPRS if name != "esp"} | {"esp": some(2) << 16 | 0x7000 + 2 * rng.randrange(64)}


def real_addresses():
    """Sixteen-bit sums that wrap, and segments that reach over 1 MiB."""
    segments = [0, 0x1234, 0xF000, 0xFFFF, 0xFFF0]
    for number in range(60):
        registers = any_registers() | {"ds": rng.choice(segments), "es": rng.choice(segments), "ss": 0x2000}
        rm, mod = rng.randrange(8), rng.randrange(3)
        opcode = rng.choice([0x8A, 0x88, 0x8B, 0x89, 0x01, 0x33])
        displacement = some(2) if mod == 2 or (mod, rm) == (0, 6) else some(1) if mod == 1 else None
        size = 2 if mod == 2 or (mod, rm) == (0, 6) else 1
        # A word at 0xffff is a fault by the manual, which QEMU does not raise: even addresses only.
        for name in ("ebx", "esi", "edi", "ebp"):
            registers[name] &= ~1
        if displacement is not None:
            displacement &= ~1
        code = bytes([opcode, mod << 6 | rng.randrange(8) << 3 | rm])
        code += le(displacement, size) if displacement is not None else b""
        prefix = rng.choice([b"", b"", b"\x26", b"\x2e", b"\x36", b"\x64"])
        vector(f"real-address-{number}", prefix + code, registers, False)


def real_segments():
    """Loading segment registers, from registers, memory and the stack; storing them."""
    for number in range(6):
        regs = any_registers() | {"ebx": 0x200}
        pointer = [(0x3_0200, struct.pack("<IHHQ", some(4), some(2), some(2), some(8)))]
        stack = [(0x2_0000 + regs["esp"] % 0x1_0000, struct.pack("<QQ", some(8), some(8)))]
        for register in (0, 2, 3, 4, 5):
            vector(f"mov-sreg{register}-ax-{number}", bytes([0x8E, 0xC0 | register << 3]), regs, False)
        vector(f"lds-{number}", b"\xc5\x07", regs, False, pointer)
        vector(f"les-32-{number}", b"\x66\xc4\x07", regs, False, pointer)
        vector(f"lss-{number}", b"\x0f\xb2\x27", regs, False, pointer)
        vector(f"lgs-{number}", b"\x0f\xb5\x07", regs, False, pointer)
        vector(f"pop-ds-{number}", b"\x1f", regs, False, stack)
        vector(f"pop-ss-{number}", b"\x17", regs, False, stack)
        vector(f"pop-fs-32-{number}", b"\x66\x0f\xa1", regs, False, stack)
        vector(f"push-cs-{number}", b"\x0e", regs, False, stack)
        moves = b"\x8e\xd8\x8a\x47\x10"  # mov ds, ax; mov al, [bx+16]
        vector(f"mov-ds-then-load-{number}", moves, regs | {"eax": rng.randrange(0x1_0000)}, False, count=2)


def real_transfers():
    """Far and near transfers, interrupt returns."""
    for number in range(6):
        regs = any_registers() | {"ebx": 0x200}
        segment, offset = rng.randrange(0x1_0000), rng.randrange(0x1_0000)
        stack_at = 0x2_0000 + regs["esp"] % 0x1_0000
        image = flags() & ~0x4000
        pointer = [(0x3_0200, struct.pack("<HHQ", offset, segment, some(8)))]
        pointer32 = [(0x3_0200, struct.pack("<IHQ", offset, segment, some(8)))]
        frame = [(stack_at, struct.pack("<HHHQ", offset, segment, image, some(8)))]
        frame32 = [(stack_at, struct.pack("<IIIQ", offset, segment, image, some(8)))]
        vector(f"jmp-far-{number}", b"\xea" + struct.pack("<HH", offset, segment), regs, False)
        vector(f"jmp-far-32-{number}", b"\x66\xea" + struct.pack("<IH", offset, segment), regs, False)
        vector(f"jmp-far-memory-{number}", b"\xff\x2f", regs, False, pointer)
        vector(f"jmp-far-memory-32-{number}", b"\x66\xff\x2f", regs, False, pointer32)
        vector(f"call-far-{number}", b"\x9a" + struct.pack("<HH", offset, segment), regs, False)
        vector(f"call-far-32-{number}", b"\x66\x9a" + struct.pack("<IH", offset, segment), regs, False)
        vector(f"call-far-memory-{number}", b"\xff\x1f", regs, False, pointer)
        vector(f"retf-{number}", b"\xcb", regs, False, frame)
        vector(f"retf-imm-{number}", b"\xca" + struct.pack("<H", 6), regs, False, frame)
        vector(f"retf-32-{number}", b"\x66\xcb", regs, False, frame32)
        vector(f"iret-{number}", b"\xcf", regs, False, frame)
        vector(f"iret-32-{number}", b"\x66\xcf", regs, False, frame32)
        vector(f"call-near-{number}", b"\xe8" + le(offset, 2), regs, False)
        vector(f"ret-near-{number}", b"\xc3", regs, False, frame)
        vector(f"call-wraps-stack-{number}", b"\xe8" + le(offset, 2), regs | {"esp": 0xABCD_0000}, False)


def real_flags():
    """PUSHF, POPF, CLI and STI where everything is allowed."""
    for number in range(10):
        regs = any_registers() | {"eflags": flags()}
        image = [(0x2_0000 + regs["esp"] % 0x1_0000, struct.pack("<IQ", flags(), some(8)))]
        for name, code in (("pushf", b"\x9c"), ("pushfd", b"\x66\x9c"), ("popf", b"\x9d"), ("popfd", b"\x66\x9d")):
            vector(f"real-{name}-{number}", code, regs, False, image)
        if number < 3:
            for name, code in (("cli", b"\xfa"), ("sti", b"\xfb"), ("cld", b"\xfc"), ("std", b"\xfd")):
                vector(f"real-{name}-{number}", code, regs, False)


def real_system():
    """Descriptor-table and control registers."""
    table = [(0x3_0200, struct.pack("<HIQ", 0x1234, 0xDEAD_BEEC, some(8)))]
    regs = any_registers() | {"ebx": 0x200}
    for size, prefix in ((16, b""), (32, b"\x66")):
        vector(f"lgdt-{size}", prefix + b"\x0f\x01\x17", regs, False, table)
        vector(f"lidt-{size}", prefix + b"\x0f\x01\x1f", regs, False, table)
    # With a 16-bit operand QEMU stores the base's top byte as 0; processors since the 386 store all of it
    # (Intel SDM vol. 2, SGDT, "Operation"). So only the 32-bit forms.
    vector("lgdt-sgdt", b"\x66\x0f\x01\x17\x66\x0f\x01\x47\x40", regs, False, table, count=2)
    vector("lidt-sidt", b"\x66\x0f\x01\x1f\x66\x0f\x01\x4f\x40", regs, False, table, count=2)
    vector("smsw-ax", b"\x0f\x01\xe0", regs, False)
    vector("smsw-memory", b"\x0f\x01\x27", regs, False)
    for value in (0, 2, 4, 8, 0xE, 0xFFF0, 0xFFFF):
        vector(f"lmsw-{value:x}", b"\x0f\x01\xf0", regs | {"eax": value}, False)
    vector("lmsw-cannot-clear-pe", b"\x0f\x01\xf0\x0f\x01\xf3", regs | {"eax": 1, "ebx": 0}, False, count=2)
    vector("mov-eax-cr0", b"\x0f\x20\xc0", regs, False)
    for number, value in ((2, 0xDEAD_BEEF), (3, 0x1234_5000), (4, 0x10)):
        code = bytes([0x0F, 0x22, 0xC0 | number << 3, 0x0F, 0x20, 0xC1 | number << 3])
        vector(f"mov-cr{number}", code, regs | {"eax": value}, False, count=2)
    vector("clts", b"\x0f\x01\xf0\x0f\x06", regs | {"eax": 8}, False, count=2)
    for name, code in (("str", b"\x0f\x00\xc8"), ("sldt", b"\x0f\x00\xc0"), ("lar", b"\x0f\x02\xc0"), ("verr", b"\x0f\x00\xe0"), ("arpl", b"\x63\xc0")):
        vector(f"real-{name}", code, regs, False)


def big_real():
    """Into protected mode, a segment with a limit of 4 GiB, and back: the limit and the base stay."""
    table = [(0x3_0200, struct.pack("<HI", 8 * 24 - 1, GDT)), (GDT, gdt())]
    code = bytes.fromhex(
        "660f0117"  # lgdt [bx]
        "0f20c0"  # mov eax, cr0
        "0c01"  # or al, 1
        "0f22c0"  # mov cr0, eax
        "b91000"  # mov cx, 0x10
        "8ee1"  # mov fs, cx
        "24fe"  # and al, 0xfe
        "0f22c0"  # mov cr0, eax
        "6467668b06"  # mov eax, fs:[esi]
        "8ee1"  # mov fs, cx: as real mode has it
        "64678a1e"  # mov bl, fs:[esi]
    )
    far = [(0x12_3456, b"\x11\x22\x33\x44"), (0x12_3556, b"\x77")]
    for steps in range(1, 10):
        vector(f"big-real-{steps}", code, {"ebx": 0x200, "esi": 0x12_3456}, False, table + far, count=steps)


def protected_segments():
    """Loads of every kind of descriptor: the accessed bit, the checks."""
    for selector in SELECTORS + [0, 3, 0xB, 0x14, 0x63, 0xFFF8, 4, 12, 20, 28, 36, 44, 52, 60, 68]:
        regs = any_registers() | {"eax": selector, "esp": 0x7000}
        for register in (0, 2, 3, 5):
            vector(f"mov-sreg{register}-{selector:#x}", bytes([0x8E, 0xC0 | register << 3]), regs, True)
        stack = [(0x7000, struct.pack("<I", selector))]
        vector(f"pop-ds-{selector:#x}", b"\x1f", regs, True, stack)
        if selector in (0x20, 0x30, 0xA8, 12, 4):
            code = b"\x8e\xd8\x8b\x1d\x10\x00\x00\x00"  # mov ds, ax; mov ebx, [16]
            vector(f"load-through-{selector:#x}", code, regs, True, [(0x3_0010, b"abcd"), (0x4_0010, b"efgh")], count=2)


def protected_looks():
    """LAR, LSL, VERR, VERW, ARPL."""
    for selector in SELECTORS + [0, 3, 0xB, 0x6B, 0x63, 0xFFF8, 12, 28, 68]:
        regs = {"eax": selector, "ecx": 0xDEAD_BEEF, "eflags": rng.choice([2, 0x42])}
        # The manual leaves bits 16 to 19 of LAR's result open: only descriptors that have zeroes there.
        if selector & 4 or TABLE.get(selector // 8, 0) >> 48 & 15 == 0:
            vector(f"lar-{selector:#x}", b"\x0f\x02\xc8", regs, True)
        for name, code in (("lar-16", b"\x66\x0f\x02\xc8"), ("lsl", b"\x0f\x03\xc8"), ("verr", b"\x0f\x00\xe0"), ("verw", b"\x0f\x00\xe8")):
            vector(f"{name}-{selector:#x}", code, regs, True)
    for destination in range(4):
        for source in range(4):
            regs = {"eax": 0xAA00 | destination, "ecx": 0xBB00 | source, "eflags": rng.choice([2, 0x42])}
            vector(f"arpl-{destination}-{source}", b"\x63\xc8", regs, True)


def protected_transfers():
    """Far transfers within a privilege level."""
    for selector in SELECTORS + [0, 3, 0xB, 0x53, 0xFFF8, 36, 44]:
        # Task gates and TSSs switch tasks, which is left out.
        if selector // 8 in (15, 16, 19) and not selector & 4:
            continue
        # Within the limits: QEMU does not look at them in returns.
        offset = 0x1234 if selector in (0x18, 0x28, 0x2C) else 0x1_1234
        far = struct.pack("<IH", offset, selector)
        regs = {"ebx": 0x3_0200, "eflags": 2}
        frame = [(0x7000, struct.pack("<IIIQ", offset, selector, flags() & ~0x4000, some(8)))]
        vector(f"jmp-far-{selector:#x}", b"\xea" + far, regs, True)
        vector(f"call-far-{selector:#x}", b"\x9a" + far, regs, True)
        vector(f"call-far-memory-{selector:#x}", b"\xff\x1b", regs, True, [(0x3_0200, far)])
        vector(f"retf-{selector:#x}", b"\xcb", regs, True, frame)
        vector(f"iret-{selector:#x}", b"\xcf", regs, True, frame)


def protected_system():
    """LLDT, LTR and their stores; flags at level 0."""
    for selector in SELECTORS + [0, 3, 12]:
        regs = {"eax": selector, "ecx": 0xDEAD_BEEF}
        vector(f"lldt-{selector:#x}", b"\x0f\x00\xd0\x0f\x00\xc1", regs, True, count=2)
        # LTR of a null selector is #GP by the manual; QEMU lets it pass.
        if selector >= 4:
            vector(f"ltr-{selector:#x}", b"\x0f\x00\xd8\x0f\x00\xc9", regs, True, count=2)
    for number in range(8):
        regs = any_registers() | {"eflags": flags(), "esp": 0x7000}
        image = [(0x7000, struct.pack("<IQ", flags(), some(8)))]
        for name, code in (("pushfd", b"\x9c"), ("popfd", b"\x9d"), ("pushf", b"\x66\x9c"), ("popf", b"\x66\x9d")):
            vector(f"protected-{name}-{number}", code, regs, True, image)
    for name, code in (("clts", b"\x0f\x06"), ("smsw", b"\x0f\x01\xe0"), ("mov-cr0", b"\x0f\x20\xc0"), ("lmsw", b"\x0f\x01\xf0")):
        vector(f"protected-{name}", code, {"eax": 0xE}, True)


def paging():
    """Page walks at level 0: what is there, what may be written, the accessed and dirty bits."""
    accesses = {
        "load": b"\x8b\x03",  # mov eax, [ebx]
        "store": b"\x89\x03",  # mov [ebx], eax
        "add": b"\x01\x03",  # add [ebx], eax
        "test": b"\x85\x03",  # test [ebx], eax
        "push": b"\xff\x33",  # push [ebx]
        "pop": b"\x8f\x03",  # pop [ebx]
        "run": b"\xff\xe3\x90",  # jmp ebx, and the instruction there
    }
    for mode in ("paged", "pae", "long"):
        for page in range(8):
            address = 0x40_0000 + page * 0x1000 + 0x10
            for name, code in accesses.items():
                regs = {"eax": some(4), "ebx": address}
                there = [(0x18_0010 + page * 0x1000, b"\x90\x90\x90\x90\x90\x90\x90\x90")]
                count = 2 if name == "run" else 1
                vector(f"{mode}-{name}-{page}", code, regs, mode, there, count)
            if page in (1, 3):
                # Without CR0.WP level 0 writes read-only pages.
                regs = {"eax": some(4), "ebx": address}
                vector(f"{mode}-store-{page}-without-wp", b"\x89\x03", regs, mode, cr0=0x8000_0011)
        for address in (0x40_0FFE, 0x40_2FFE, 0x40_3FFE, 0x1F_FFFE, 0x80_1234, 0xC0_0000, 0x7FFF_FFFF):
            regs = {"eax": some(4), "ebx": address}
            vector(f"{mode}-load-{address:#x}", b"\x8b\x03", regs, mode)
            vector(f"{mode}-store-{address:#x}", b"\x89\x03", regs, mode)
        # Through what the TLB still has: an entry is taken away, and INVLPG, or CR3 again, says so.
        for name, code in (("invlpg", b"\x0f\x01\x3b"), ("cr3", b"\x0f\x20\xda\x0f\x22\xda")):
            clear = b"\x8b\x03\xc7\x01\x00\x00\x00\x00" + code + b"\x8b\x03"
            regs = {"ebx": 0x40_0000, "ecx": 0x10_5000}
            vector(f"{mode}-{name}", clear, regs, mode, count=5 if name == "cr3" else 4)


def enter_modes():
    """Paging, and then long mode, switched on by the guest."""
    code = bytes.fromhex(
        "b800001000" "0f22d8"  # mov eax, 0x100000; mov cr3, eax
        "0f20c1" "81c900000080" "0f22c1"  # mov ecx, cr0; or ecx, 1 << 31; mov cr0, ecx
        "8b1500004000"  # mov edx, [0x400000]
    )
    # Unicorn looks at the next instruction before it stops, and marks its page: not straight after CR0.
    for steps in (1, 2, 3, 4, 6):
        vector(f"enter-paging-{steps}", code, {}, True, (), steps, tables="paged")
    code = bytes.fromhex(
        "b820000000" "0f22e0"  # mov eax, 0x20; mov cr4, eax
        "b800001000" "0f22d8"  # mov eax, 0x100000; mov cr3, eax
        "b9800000c0" "b800010000" "31d2" "0f30"  # LME by wrmsr
        "0f20c0" "0d00000080" "0f22c0"  # CR0.PG
        "ea00130100b800"  # jmp 0xb8:0x11300
    )
    there = [(0x1_1300, bytes.fromhex("48bb1122334455667788" "4889d8"))]  # mov rbx, ...; mov rax, rbx
    # Unicorn still reads 32-bit registers then: up to the jump, and not beyond.
    for steps in (1, 4, 8, 9, 10, 12):
        vector(f"enter-long-{steps}", code, {}, True, there, steps, tables="long")


def wrmsr(number, value):
    return (
        b"\xb9" + le(number, 4) + b"\xb8" + le(value, 4) + b"\xba" + le(value >> 32, 4) + b"\x0f\x30"
    )


def long_mode():
    """What only 64-bit code has."""
    fs_base, gs_base, kernel_gs_base = 0xC000_0100, 0xC000_0101, 0xC000_0102
    for number in range(4):
        base = some(4) & 0x1F_FFF8 | rng.choice([0, 0xFFFF_8000_0000_0000])
        swap = wrmsr(gs_base, 0x1_5000) + wrmsr(kernel_gs_base, base) + b"\x0f\x01\xf8"
        vector(f"swapgs-{number}", swap, {}, "long", count=9)
        through = wrmsr(fs_base, 0x1_5000) + b"\x64\x48\x8b\x04\x25\x10\x00\x00\x00"  # mov rax, fs:[16]
        vector(f"fs-base-{number}", through, {}, "long", [(0x1_5010, le(some(8), 8))], count=5)
        back = wrmsr(fs_base, base) + b"\x31\xc0\x0f\x32"
        vector(f"rdmsr-fs-base-{number}", back, {}, "long", count=6)
    for number in range(4):
        image = flags() & ~0x4000
        frame = struct.pack("<QQQQQ", 0x1_2000, 0xB8, image, 0x5000 + number, 16)
        vector(f"iretq-{number}", b"\x48\xcf", {}, "long", [(0x7000, frame)])
        frame = struct.pack("<IIIII", 0x1_2000, 0xB8, image, 0x5000 + number, 16)
        vector(f"iretd-{number}", b"\xcf", {}, "long", [(0x7000, frame)])
        vector(f"popfq-{number}", b"\x9d", {}, "long", [(0x7000, le(image, 8))])
        vector(f"pushfq-{number}", b"\x9c", {"eflags": flags() & ~0x4000}, "long")
    vector("retfq", b"\x48\xcb", {}, "long", [(0x7000, struct.pack("<QQ", 0x1_2000, 0xB8))])
    vector("retf-to-compatibility", b"\xcb", {}, "long", [(0x7000, struct.pack("<II", 0x1_2000, 8))])
    table = [(0x1_5000, struct.pack("<HQ", 0x1234, 0xFFFF_8000_1234_5678)), (0x1_5020, struct.pack("<HQ", 1, 1 << 60))]
    vector("lgdt-sgdt-64", b"\x0f\x01\x13\x0f\x01\x43\x40", {"ebx": 0x1_5000}, "long", table, 2)
    vector("lidt-sidt-64", b"\x0f\x01\x1b\x0f\x01\x4b\x40", {"ebx": 0x1_5000}, "long", table, 2)
    for selector in (0, 0x10, 0x20, 0x60, 0x63, 8, 0xB8, 0x58):
        for register in (2, 3, 4, 5):
            code = bytes([0x8E, 0xC0 | register << 3])
            vector(f"long-mov-sreg{register}-{selector:#x}", code, {"eax": selector}, "long")
    for name, code in (("push-fs", b"\x0f\xa0"), ("clts", b"\x0f\x06"), ("mov-cr8", b"\x44\x0f\x20\xc0"), ("mov-cr3", b"\x0f\x20\xd8")):
        vector(f"long-{name}", code, {"eax": 5}, "long")


def main():
    for group in (
        real_addresses,
        real_segments,
        real_transfers,
        real_flags,
        real_system,
        big_real,
        protected_segments,
        protected_looks,
        protected_transfers,
        protected_system,
        paging,
        enter_modes,
        long_mode,
    ):
        group()
    # First the tables, once for all.
    tables = {"gdt": gdt().hex(), "ldt": local_table().hex(), "pages": {}}
    for mode in ("paged", "pae", "long"):
        tables["pages"][mode] = {at: bytes(page).rstrip(b"\0").hex() for at, page in page_tables(mode).items()}
    for record in [tables, *vectors]:
        print(json.dumps(record, separators=(",", ":")))


main()
