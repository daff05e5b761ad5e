/** Where a function of a 64-bit little-endian shared library begins in its file. */

const sectionDynsym = 11;
const segmentLoad = 1;
const symbolBytes = 24;

export function symbolOffset(file: Buffer, name: string): number {
  const u64 = (at: number): number => Number(file.readBigUInt64LE(at));
  const sections = { at: u64(40), size: file.readUInt16LE(58), count: file.readUInt16LE(60) };
  for (let index = 0; index < sections.count; index += 1) {
    const section = sections.at + index * sections.size;
    if (file.readUInt32LE(section + 4) !== sectionDynsym) continue;
    const strings = u64(sections.at + file.readUInt32LE(section + 40) * sections.size + 24);
    const start = u64(section + 24);
    const end = start + u64(section + 32);
    for (let symbol = start; symbol < end; symbol += symbolBytes) {
      const text = strings + file.readUInt32LE(symbol);
      if (file.toString("latin1", text, file.indexOf(0, text)) === name) {
        return fileOffset(file, u64(symbol + 8));
      }
    }
  }
  throw new Error(`no symbol ${name}`);
}

function fileOffset(file: Buffer, address: number): number {
  const u64 = (at: number): number => Number(file.readBigUInt64LE(at));
  const segments = { at: u64(32), size: file.readUInt16LE(54), count: file.readUInt16LE(56) };
  for (let index = 0; index < segments.count; index += 1) {
    const segment = segments.at + index * segments.size;
    const [offset, start, length] = [u64(segment + 8), u64(segment + 16), u64(segment + 32)];
    const loaded = file.readUInt32LE(segment) === segmentLoad;
    if (loaded && address >= start && address < start + length) return address - start + offset;
  }
  throw new Error("the address is in no segment");
}
