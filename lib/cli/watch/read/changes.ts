/** Reads what the selected task changed in its worktree, in the background and not often: git is called. */
import type { Store } from "../../../store/paths.ts";
import { findTask } from "../../../store/records.ts";
import { isFinal } from "../../../task/states.ts";
import type { WatchRow } from "../state.ts";

/** How often the changes of an unfinished task are read, in ms. */
const readIntervalMs = 10_000;

export class ChangesReader {
	readonly #store: Store;
	readonly #onRead: () => void;
	/** By id, what was read, and when it is read again: in ms of performance.now(). */
	readonly #known = new Map<string, { text: string; nextAt: number }>();
	#isReading = false;

	/** @param onRead is called when other changes than before were read. */
	constructor(store: Store, onRead: () => void) {
		this.#store = store;
		this.#onRead = onRead;
	}

	/** The changes of a task in a few words, as they were read last; "" if none are known. */
	read(row: WatchRow | undefined): string {
		if (!row?.hasWorktree) return "";
		const known = this.#known.get(row.id);
		const isDue = !known || known.nextAt <= performance.now();
		if (isDue && !this.#isReading) void this.#readNow(row.id);
		return known?.text ?? "";
	}

	async #readNow(id: string): Promise<void> {
		this.#isReading = true;
		const before = this.#known.get(id)?.text ?? "";
		let text = before;
		let nextAt = performance.now() + readIntervalMs;
		try {
			const task = findTask(this.#store, id);
			const { describeChanges, readChanges } = await import(
				"../../../droid/worktree/changes.ts"
			);
			const changes = task && (await readChanges(this.#store, task));
			text = changes ? describeChanges(changes) : "";
			if (task && isFinal(task)) nextAt = Number.POSITIVE_INFINITY;
		} catch {
			// The record cannot be read: the next call may.
		}
		this.#known.set(id, { text, nextAt });
		this.#isReading = false;
		if (text !== before) this.#onRead();
	}
}
