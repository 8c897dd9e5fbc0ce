/** Hands the input of a command that runs as a job over: from the store, where other machines post it, to its pipe. */
import { discard } from "../../store/files.ts";
import {
	endInput,
	keptInput,
	listPosted,
	writePosted,
} from "../../store/input.ts";
import type { Store } from "../../store/paths.ts";
import type { Task } from "../../task/schema.ts";

/** How often to try again while the pipe is full, in ms. */
const roomPollMs = 50;

export class JobInput {
	readonly #store: Store;
	readonly #id: string;
	readonly #isKept: boolean;
	/** How much of the first file is in the pipe, in bytes. */
	#offset = 0;
	#timer: NodeJS.Timeout | undefined;

	constructor(store: Store, { id, stdin }: Task) {
		this.#store = store;
		this.#id = id;
		this.#isKept = stdin === keptInput;
	}

	/** Writes what was posted into the pipe: in its order, once, and without waiting. */
	deliver(): void {
		if (!this.#isKept) return;
		clearTimeout(this.#timer);
		for (const { path, isEnd } of listPosted(this.#store, this.#id)) {
			if (!isEnd && !this.#write(path)) return;
			// A sender takes what is gone for taken.
			discard(path);
			this.#offset = 0;
			if (isEnd) endInput(this.#store, this.#id);
		}
	}

	#deliverAgain(): void {
		try {
			this.deliver();
		} catch {
			// The next look at the record delivers it, or logs why not.
		}
	}

	/** Writes the rest of a file. Returns false if the pipe is full, which is tried again, or closed. */
	#write(path: string): boolean {
		for (;;) {
			const offset = this.#offset;
			const done = writePosted(this.#store, this.#id, { path, offset });
			if (done === "done") return true;
			if (done === "closed") {
				// The next attempt has a pipe of its own.
				this.#offset = 0;
				endInput(this.#store, this.#id);
				return false;
			}
			this.#offset = done;
			if (done > offset) continue;
			this.#timer = setTimeout(() => this.#deliverAgain(), roomPollMs);
			return false;
		}
	}
}
