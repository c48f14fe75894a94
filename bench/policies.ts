/**
 * What textbook policies would have kept, blob by blob, knowing nothing of images: LRU, LFU with counts that are never
 * forgotten, and W-TinyLFU (Einziger, Friedman, Manes, ACM Transactions on Storage 13(4), 2017; a window of 1 %, a
 * segmented main part, counts halved every ten times as many accesses as there are entries). Simulated, exactly.
 */

export interface Policy {
  readonly name: string;
  /** Whether it was there; it is afterwards, if the policy lets it in. */
  access(key: string, sizeBytes: number): boolean;
}

export class Lru implements Policy {
  readonly name: string = "LRU";
  readonly #limitBytes: number;
  readonly #sizes = new Map<string, number>();
  #bytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  access(key: string, sizeBytes: number): boolean {
    const hit = this.#sizes.delete(key);
    if (!hit) this.#bytes += sizeBytes;
    this.#sizes.set(key, sizeBytes);
    for (const [oldest, size] of this.#sizes) {
      if (this.#bytes <= this.#limitBytes) break;
      this.#sizes.delete(oldest);
      this.#bytes -= size;
    }
    return hit;
  }
}

/** The least used leaves, of those the least recent; what is used less than that is not let in. */
export class Lfu implements Policy {
  readonly name: string = "LFU";
  readonly #limitBytes: number;
  readonly #uses = new Map<string, number>();
  readonly #held = new Map<string, number>();
  readonly #byUses = new Map<number, Map<string, number>>();
  #bytes = 0;

  constructor(limitBytes: number) {
    this.#limitBytes = limitBytes;
  }

  access(key: string, sizeBytes: number): boolean {
    const before = this.#uses.get(key) ?? 0;
    this.#uses.set(key, before + 1);
    const hit = this.#held.has(key);
    if (hit) this.#byUses.get(before)?.delete(key);
    else {
      this.#held.set(key, sizeBytes);
      this.#bytes += sizeBytes;
    }
    const peers = this.#byUses.get(before + 1) ?? new Map<string, number>();
    this.#byUses.set(before + 1, peers.set(key, sizeBytes));
    while (this.#bytes > this.#limitBytes) this.#evict(key);
    return hit;
  }

  #evict(newest: string): void {
    const least = [...this.#byUses.entries()].filter(([, keys]) => keys.size > 0);
    const [, keys] = least.reduce((one, other) => (other[0] < one[0] ? other : one));
    for (const [key, size] of keys) {
      if (key === newest && keys.size > 1) continue;
      keys.delete(key);
      this.#held.delete(key);
      this.#bytes -= size;
      return;
    }
  }
}

type Segment = Map<string, number>;

export class TinyLfu implements Policy {
  readonly name: string = "W-TinyLFU";
  readonly #windowBytes: number;
  readonly #mainBytes: number;
  readonly #protectedBytes: number;
  readonly #window: Segment = new Map();
  readonly #probation: Segment = new Map();
  readonly #protected: Segment = new Map();
  readonly #counts = new Map<string, number>();
  #accesses = 0;
  readonly #bytes = { window: 0, probation: 0, protected: 0 };

  constructor(limitBytes: number) {
    this.#windowBytes = limitBytes * 0.01;
    this.#mainBytes = limitBytes - this.#windowBytes;
    this.#protectedBytes = this.#mainBytes * 0.8;
  }

  access(key: string, sizeBytes: number): boolean {
    this.#count(key);
    if (this.#window.delete(key)) {
      this.#window.set(key, sizeBytes);
      return true;
    }
    if (this.#protected.delete(key)) {
      this.#protected.set(key, sizeBytes);
      return true;
    }
    if (this.#probation.delete(key)) {
      this.#bytes.probation -= sizeBytes;
      this.#protected.set(key, sizeBytes);
      this.#bytes.protected += sizeBytes;
      for (const [demoted, size] of this.#protected) {
        if (this.#bytes.protected <= this.#protectedBytes) break;
        this.#protected.delete(demoted);
        this.#bytes.protected -= size;
        this.#probation.set(demoted, size);
        this.#bytes.probation += size;
      }
      return true;
    }
    this.#window.set(key, sizeBytes);
    this.#bytes.window += sizeBytes;
    for (const [candidate, size] of this.#window) {
      if (this.#bytes.window <= this.#windowBytes) break;
      this.#window.delete(candidate);
      this.#bytes.window -= size;
      this.#admit(candidate, size);
    }
    return false;
  }

  /** Whoever must leave for it is used less; otherwise it is not let in. */
  #admit(candidate: string, sizeBytes: number): void {
    const victims: [string, number][] = [];
    let over = this.#bytes.probation + this.#bytes.protected + sizeBytes - this.#mainBytes;
    for (const [segment, name] of [
      [this.#probation, "probation"],
      [this.#protected, "protected"],
    ] as const) {
      for (const [victim, size] of segment) {
        if (over <= 0) break;
        if ((this.#counts.get(victim) ?? 0) >= (this.#counts.get(candidate) ?? 0)) return;
        victims.push([`${name} ${victim}`, size]);
        over -= size;
      }
    }
    if (over > 0) return;
    for (const [labelled, size] of victims) {
      const [name = "", victim = ""] = labelled.split(" ");
      const isProtected = name === "protected";
      (isProtected ? this.#protected : this.#probation).delete(victim);
      this.#bytes[isProtected ? "protected" : "probation"] -= size;
    }
    this.#probation.set(candidate, sizeBytes);
    this.#bytes.probation += sizeBytes;
  }

  #count(key: string): void {
    this.#counts.set(key, (this.#counts.get(key) ?? 0) + 1);
    this.#accesses += 1;
    const entries = this.#window.size + this.#probation.size + this.#protected.size;
    if (this.#accesses < 10 * Math.max(100, entries)) return;
    this.#accesses = 0;
    for (const [counted, count] of this.#counts) {
      if (count < 2) this.#counts.delete(counted);
      else this.#counts.set(counted, count >> 1);
    }
  }
}
