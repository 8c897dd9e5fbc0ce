/**
 * Follows the size of a running task's output. A growing output is polled before it can be far past its
 * limit; the first byte after a quiet poll is reported by the system, so a quiet task costs nothing.
 */
import { formatSize } from "../print/units.ts";
import {
	readOutputSize,
	truncateOutput,
	watchOutput,
} from "../store/output-files.ts";
import type { Store } from "../store/paths.ts";

/** How fast a disk in memory can be written, in bytes per ms. */
const maxWriteSpeed = 4 * 1024 * 1024;

/** How far past its limit an output may get before it is stopped, in bytes. */
const outputMargin = 32 * 1024 * 1024;

/** The shortest time between two polls, in ms. */
const fastPollMs = 5;

/** Watches the output of one task. */
export class OutputWatch {
	/** As last measured, in bytes. */
	size = 0;
	readonly #store: Store;
	readonly #id: string;
	readonly #onChange: () => void;
	#close: (() => void) | undefined;
	#canWatch = true;

	/** @param onChange called when a quiet output changes, or the system cannot watch it any more. */
	constructor(store: Store, id: string, onChange: () => void) {
		this.#store = store;
		this.#id = id;
		this.#onChange = onChange;
	}

	/** Measures the output; returns its growth since the last time, in bytes. */
	measure(): number {
		const before = this.size;
		this.size = readOutputSize(this.#store, this.#id);
		return this.size - before;
	}

	/**
	 * Watches an output that did not grow.
	 * @param growth since the last poll, in bytes.
	 * @param limit of the output, in bytes.
	 * @returns in how many ms the output must be polled again; undefined if it is watched.
	 */
	schedule(growth: number, limit: number): number | undefined {
		if (growth === 0 && this.#canWatch && this.#watch()) return undefined;
		this.close();
		const left = limit + outputMargin - this.size;
		return Math.max(left / maxWriteSpeed, fastPollMs);
	}

	/** Ends the watch. */
	close(): void {
		this.#close?.();
		this.#close = undefined;
	}

	/** Cuts an output that is past its limit, in bytes. */
	cut(limit: number): void {
		if (this.size > limit)
			truncateOutput(this.#store, this.#id, {
				bytes: limit,
				line: `bg: cut here: the task wrote more than ${formatSize(limit)}`,
			});
	}

	/** Returns whether the output is watched and did not grow meanwhile. */
	#watch(): boolean {
		if (this.#close) return true;
		const onChange = () => {
			this.close();
			this.#onChange();
		};
		const onError = () => {
			this.#canWatch = false;
			onChange();
		};
		this.#close = watchOutput(this.#store, this.#id, {
			onChange,
			onError,
		});
		// The watch starts first, so no growth is missed. If this fails, the next poll reports it.
		try {
			if (this.measure() > 0) return false;
		} catch {}
		return this.#close !== undefined;
	}
}
