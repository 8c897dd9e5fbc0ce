/** What is asked of a cancel, and what it answers. */
import { BgError } from "../../error.ts";
import type { Store } from "../../store/paths.ts";
import type {
	LeftBehind,
	Reason,
	Status,
	Stop,
	stopSignals,
} from "../../task/schema.ts";
import { timestamp } from "../../task/states.ts";

export type CancelOptions = {
	/** The first signal (TERM). */
	signal?: (typeof stopSignals)[number] | undefined;
	/** Whether to leave the tasks that were launched from inside. */
	only?: boolean;
	/** The reason of the end that is recorded. */
	cause?: { reason: Reason; by: string };
};

/** `requested` gets the ids of the tasks whose end was requested. */
export type CancelRun = CancelOptions & {
	store: Store;
	requested: Set<string>;
};

export type CancelResult = {
	taskId: string;
	/** Absent if the record cannot be read. */
	status?: Status;
	/** Whether this call stopped something. */
	cancelled: boolean;
	survivors: LeftBehind[];
	/** Why nothing was stopped, or why the end is not recorded. */
	note?: string;
};

/** The result for a task of which nothing was stopped. */
export const toUnchanged = (
	taskId: string,
	note: string,
	status?: Status,
): CancelResult => ({
	taskId,
	...(status && { status }),
	cancelled: false,
	survivors: [],
	note,
});

/** The request as a record has it. */
export const toStop = ({ cause, signal }: CancelOptions): Stop => ({
	...(cause ?? { reason: "cancel", by: "bg cancel" }),
	at: timestamp(),
	...(signal && { signal }),
});

/** Whether an error says that something was not done; what it is for is not affected otherwise. */
export const isRefused = (error: unknown): error is BgError =>
	error instanceof BgError && error.exit === "refused";
