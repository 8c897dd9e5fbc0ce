/** Tests that run beside the others of their file, and cleanups that work in both kinds of test. */

import { onTestFinished, test } from "bun:test";
import { AsyncLocalStorage } from "node:async_hooks";

type Cleanup = () => unknown;

/** The cleanups of a concurrent test, in which Bun's `onTestFinished` throws. */
const cleanupsOfTest = new AsyncLocalStorage<Cleanup[]>();

/** Calls a function after the test that runs, whether it passed or failed. */
export function afterTest(cleanup: Cleanup): void {
	const cleanups = cleanupsOfTest.getStore();
	if (cleanups) cleanups.push(cleanup);
	else onTestFinished(cleanup);
}

/** A test that mostly waits: runs beside the other concurrent tests of its file. */
export function concurrentTest(title: string, body: () => Promise<void>): void {
	test.concurrent(title, withCleanups(body));
}

concurrentTest.each =
	<const Row>(rows: readonly Row[]) =>
	(
		title: string,
		body: (
			...args: Row extends readonly [...infer Words] ? Words : [Row]
		) => Promise<void>,
	): void =>
		test.concurrent.each([...rows])(
			title,
			withCleanups(body as (...args: unknown[]) => Promise<void>),
		);

function withCleanups<Args extends unknown[]>(
	body: (...args: Args) => Promise<void>,
): (...args: Args) => Promise<void> {
	return async (...args) => {
		const cleanups: Cleanup[] = [];
		const errors: unknown[] = [];
		const attempt = async (step: Cleanup) => {
			try {
				await step();
			} catch (error) {
				errors.push(error);
			}
		};
		await cleanupsOfTest.run(cleanups, () => attempt(() => body(...args)));
		for (const cleanup of cleanups) await attempt(cleanup);
		if (errors.length) throw errors[0];
	};
}
