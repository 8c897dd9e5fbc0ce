/**
 * How a supervisor is told to stop its task, and does it once.
 *
 * SIGTERM, SIGINT or SIGHUP: stop my task (`cancelled`, reason `shutdown`). SIGUSR2: look at the
 * record, somebody wrote down why it is to be stopped. It writes no end: that is the supervisor's.
 */

import { logFault } from "./directory.ts";
import { messageOf } from "./error.ts";
import type { Store } from "./names.ts";
import { readTask, recordVersion, updateTask } from "./store.ts";
import { type Identity, intend, type Task, timestamp } from "./task.ts";
import { stopTree } from "./tree.ts";

const shutdownSignals = ["SIGTERM", "SIGINT", "SIGHUP"] as const;

/** Stops the task once, whoever asks: a signal to this supervisor, or an intent in the record. */
export class Stopper {
	root: Identity | undefined;
	readonly #store: Store;
	readonly #id: string;
	#stopping: Promise<unknown> | undefined;
	#seen: string | undefined;

	constructor(store: Store, task: Task) {
		this.#store = store;
		this.#id = task.id;
		this.root = task.process;
		for (const signal of shutdownSignals)
			process.on(signal, () => this.#shutDown(signal));
		process.on("SIGUSR2", () => this.look());
	}

	/** Where an intent is written down: waits until the tree is gone. */
	async finish(): Promise<void> {
		this.look();
		await this.#stopping;
	}

	#shutDown(signal: string): void {
		try {
			updateTask(this.#store, this.#id, (task) =>
				intend(task, { reason: "shutdown", at: timestamp(), by: signal }),
			);
		} catch (error) {
			logFault(this.#store, "supervisor", `${this.#id} ${messageOf(error)}`);
		}
		this.#stopping ??= stopTree(this.#id, { root: this.root });
	}

	/** Where an intent is written down: begins to stop. */
	look(): void {
		const version = recordVersion(this.#store, this.#id);
		if (this.#stopping || version === this.#seen) return;
		this.#seen = version;
		const stop = readIntent(this.#store, this.#id);
		if (!stop) return;
		this.#stopping = stopTree(this.#id, {
			root: this.root,
			...(stop.signal && { signal: `SIG${stop.signal}` }),
		});
	}
}

// --- internal ---

function readIntent(store: Store, id: string): Task["stop"] {
	try {
		return readTask(store, id).stop;
	} catch {
		return undefined;
	}
}
