/** What happens to a store on a bad day, at random: long events one after the other, and folders that are removed. */
import { chmodSync, existsSync, readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { folders } from "../../lib/store/paths.ts";
import { Dice } from "../chaos/plan.ts";
import type { Watch } from "../chaos/watch.ts";
import type { Disk } from "./disk.ts";

/** One event. `at`: from the start of the round, in s. */
export type BadEvent = { at: number; what: string; seconds?: number };

/** How long a long event lasts, in s. */
const durations = [5, 10, 20, 40, 60] as const;

/** The long events, and the share of each. */
const shares = {
	full: 3,
	"read-only": 3,
	"no permission": 2,
	"no permission for a folder": 2,
};
type LongEvent = keyof typeof shares;

/** How long the store is left alone between two long events, and between two removals at least, in s. */
const pauseSeconds = 4;
const removalSeconds = 6;

/** All folders but that of the records of ended tasks, which nobody can have again. */
const removable = Object.values(folders).filter(
	(name) => name !== folders.archive,
);

export class BadEvents {
	/** What happened. */
	readonly told: BadEvent[] = [];
	/** The folders that were removed, and `space`. */
	readonly removed = new Set<string>();
	readonly #disk: Disk;
	readonly #dir: string;
	readonly #watch: Watch;
	readonly #dice: Dice;
	readonly #begin = performance.now();
	/** Ends the event that goes on. */
	#end = () => {};

	constructor(seed: number, disk: Disk, dir: string, watch: Watch) {
		this.#dice = new Dice(seed + 1);
		this.#disk = disk;
		this.#dir = dir;
		this.#watch = watch;
	}

	/** Lets events happen for `fire` ms. All is well afterwards. */
	async go(fire: number): Promise<void> {
		await Promise.all([this.#happen(fire), this.#removeFolders(fire)]);
	}

	/** Ends the event that goes on. */
	heal(): void {
		this.#end();
		this.#end = () => {};
		this.#watch.isStoreBroken = false;
	}

	// --- internal ---

	get #passed(): number {
		return (performance.now() - this.#begin) / 1000;
	}

	async #happen(fire: number): Promise<void> {
		const dice = this.#dice;
		const last = fire / 1000;
		for (;;) {
			await Bun.sleep((pauseSeconds + dice.below(4)) * 1000);
			const seconds = Math.min(dice.pick(durations), last - this.#passed);
			if (seconds < 1) return;
			const event = dice.weigh<LongEvent>(shares);
			this.#watch.isStoreBroken = true;
			const { what, end } = this.#cause(event);
			this.#end = end;
			this.told.push({ at: this.#passed, what, seconds });
			const until = this.#passed + seconds;
			while (this.#passed < until) {
				if (event === "full") this.#fill();
				await Bun.sleep(200);
			}
			this.heal();
		}
	}

	#fill(): void {
		this.#disk.fill();
		this.removed.add("space");
	}

	#cause(event: LongEvent): { what: string; end: () => void } {
		const disk = this.#disk;
		if (event === "full") return { what: event, end: () => disk.free() };
		if (event === "read-only") {
			const how = disk.setReadOnly(true);
			const end = () => void disk.setReadOnly(false);
			return { what: `${event} (${how})`, end };
		}
		const isWhole = event === "no permission";
		const name = isWhole ? "" : this.#dice.pick(Object.values(folders));
		const mode = this.#dice.pick([0, 0o500] as const);
		const path = join(this.#dir, name);
		// A folder may be removed meanwhile.
		const change = (mode: number) => existsSync(path) && chmodSync(path, mode);
		change(mode);
		const what = isWhole ? event : "no permission for";
		return {
			what: `${what} ${name}(${mode.toString(8)})`,
			end: () => change(0o700),
		};
	}

	async #removeFolders(fire: number): Promise<void> {
		for (;;) {
			const pause = (removalSeconds + this.#dice.below(10)) * 1000;
			if (this.#passed * 1000 + pause > fire) return;
			await Bun.sleep(pause);
			const name = this.#dice.pick(removable);
			const path = join(this.#dir, name);
			const isSlots = name === folders.slots;
			const claims = isSlots && existsSync(path) ? readdirSync(path) : [];
			try {
				rmSync(path, { recursive: true });
			} catch {
				// The disk is read-only, or something is created in the folder meanwhile.
			}
			this.removed.add(name);
			for (const claim of claims)
				this.#watch.unclaimed.add(claim.split(",")[3] ?? "");
			this.told.push({ at: this.#passed, what: `removed ${name}` });
		}
	}
}
