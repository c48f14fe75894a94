/**
 * Writes tar archives whose length is known before their first byte, and which are the same bytes every time: regular
 * files alone, owner 0, time 0, in the order given (POSIX.1-2024, pax; ustar where a name and a size fit).
 */
const BLOCK = 512;
/** Two empty blocks end an archive. */
export const END = Buffer.alloc(2 * BLOCK);
const MAX_USTAR_NAME = 100;
const MAX_USTAR_SIZE = 8 ** 11 - 1;

/** What goes before the bytes of a file. */
export function headerOf(name: string, sizeBytes: number): Buffer {
  const records = [
    ...(name.length > MAX_USTAR_NAME ? [paxRecord("path", name)] : []),
    ...(sizeBytes > MAX_USTAR_SIZE ? [paxRecord("size", String(sizeBytes))] : []),
  ];
  const header = ustar(name.slice(0, MAX_USTAR_NAME), sizeBytes > MAX_USTAR_SIZE ? 0 : sizeBytes, "0");
  if (records.length === 0) return header;
  const pax = Buffer.from(records.join(""));
  return Buffer.concat([ustar("pax", pax.length, "x"), pax, paddingOf(pax.length), header]);
}

/** What goes after them. */
export function paddingOf(sizeBytes: number): Buffer {
  return Buffer.alloc((BLOCK - (sizeBytes % BLOCK)) % BLOCK);
}

/** How much a file takes in an archive. */
export function lengthOf(name: string, sizeBytes: number): number {
  return headerOf(name, sizeBytes).length + sizeBytes + paddingOf(sizeBytes).length;
}

function ustar(name: string, sizeBytes: number, type: "0" | "x"): Buffer {
  const block = Buffer.alloc(BLOCK);
  const octal = (value: number, at: number, width: number) =>
    block.write(`${value.toString(8).padStart(width - 1, "0")}\0`, at, "latin1");
  block.write(name, 0, "latin1");
  octal(0o444, 100, 8);
  octal(0, 108, 8);
  octal(0, 116, 8);
  octal(sizeBytes, 124, 12);
  octal(0, 136, 12);
  block.fill(" ", 148, 156);
  block.write(type, 156);
  block.write("ustar\x0000", 257, "latin1");
  let sum = 0;
  for (const byte of block) sum += byte;
  block.write(`${sum.toString(8).padStart(6, "0")}\0 `, 148, "latin1");
  return block;
}

/** `length key=value\n`, its own length counted in. */
function paxRecord(key: string, value: string): string {
  const rest = ` ${key}=${value}\n`;
  let length = rest.length + 1;
  while (String(length).length + rest.length !== length) length = String(length).length + rest.length;
  return `${length}${rest}`;
}
