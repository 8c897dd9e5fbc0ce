/** The list of a user's jobs: one question for all tasks, asked at most every 5 s. */
import { BgError, refused } from "../error.ts";
import type { Store } from "../store/paths.ts";
import { call, callAsync, SilentError } from "./programs.ts";
import { type ListedJob, parseQueue, queueFormat } from "./slurm-answers.ts";
import { listSubmitted, readSubmission } from "./submissions.ts";

/** How old the list may be, in ms. */
const maxAgeMs = 5000;

/** The answer to one question. */
type Answer = {
	/** When it was asked, on the monotonic clock in ms. */
	at: number;
	jobs: ReadonlyMap<string, ListedJob>;
	/** What Slurm printed. */
	text?: string;
	/** The submissions that were complete when it was asked. What is missing of these is over. */
	covers: ReadonlySet<string>;
	/** Why there is none. */
	problem?: BgError;
};

export class JobList {
	readonly #store: Store;
	#answer: Answer | undefined;
	/** Whether it is asked by `refresh` alone. */
	#isFollowed = false;

	constructor(store: Store) {
		this.#store = store;
	}

	/** Why Slurm did not answer when it was asked last. */
	get problem(): string | undefined {
		return this.#answer?.problem?.message;
	}

	/** The jobs by `jobKey`. @throws BgError (refused). */
	read(): ReadonlyMap<string, ListedJob> {
		const { jobs, problem } = this.#current();
		if (problem) throw problem;
		return jobs;
	}

	/**
	 * Finds a job. The list is asked for again if it may be older than the submission.
	 * @returns undefined if there is none.
	 * @throws BgError (refused): cannot tell.
	 */
	find(launch: string, key: string): ListedJob | undefined {
		const found = this.read().get(key);
		if (found || this.#current().covers.has(launch)) return found;
		if (this.#isFollowed) throw notAsked();
		this.#answer = this.#ask();
		const now = this.read().get(key);
		const isCovered = this.#answer.covers.has(launch);
		if (!now && !isCovered && readSubmission(this.#store, launch).length)
			throw refused("it is being submitted");
		return now;
	}

	/**
	 * From now on only this asks; questions get the last answer. Never fails.
	 * @returns whether the answer is another one than the last, and how many jobs it lists.
	 */
	async refresh(): Promise<{ isNews: boolean; jobs: number }> {
		this.#isFollowed = true;
		const { args, answer } = this.#prepare();
		const before = this.#answer;
		try {
			const text = await callAsync("squeue", args);
			const isSame = text === before?.text && !before.problem;
			const jobs = isSame ? before.jobs : parseQueue(text);
			this.#answer = { ...answer, jobs, text };
			const isNews = !isSame || !isSameSet(before.covers, answer.covers);
			return { isNews, jobs: jobs.size };
		} catch (error) {
			this.#answer = { ...answer, problem: toProblem(error) };
			return { isNews: !before?.problem, jobs: 0 };
		}
	}

	/** Slurm did not answer another question: it is not asked again for a while. */
	noteProblem(problem: SilentError): void {
		if (this.#answer) this.#answer = { ...this.#answer, problem };
	}

	#current(): Answer {
		const age = performance.now() - (this.#answer?.at ?? 0);
		if (this.#answer && (this.#isFollowed || age < maxAgeMs))
			return this.#answer;
		if (this.#isFollowed) throw notAsked();
		this.#answer = this.#ask();
		return this.#answer;
	}

	#ask(): Answer {
		const { args, answer } = this.#prepare();
		try {
			return { ...answer, jobs: parseQueue(call("squeue", args)) };
		} catch (error) {
			return { ...answer, problem: toProblem(error) };
		}
	}

	#prepare(): { args: readonly string[]; answer: Answer } {
		const { owner, isForeign } = this.#store;
		const whose = isForeign ? `--user=${owner}` : "--me";
		const args = ["-h", "-a", "-r", "-t", "all", whose, "-o", queueFormat];
		const covers = listSubmitted(this.#store);
		return {
			args,
			answer: { at: performance.now(), jobs: new Map(), covers },
		};
	}
}

// --- internal ---

const isSameSet = (one: ReadonlySet<string>, other: ReadonlySet<string>) =>
	one.size === other.size && [...one].every((each) => other.has(each));

const notAsked = () => refused("its engine was not asked yet");

function toProblem(error: unknown): BgError {
	if (error instanceof SilentError) return error;
	if (error instanceof BgError) return new SilentError(error.message);
	throw error;
}
