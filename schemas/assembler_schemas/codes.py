"""Every diagnostic code: its level and one line. A code names the bad thing.

The code is the name of its page (`checks/pages/<code>.md`) and what `assembler explain` takes.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Code(NamedTuple):
    level: Literal["error", "warning", "note"]
    summary: str


def _table(level: Literal["error", "warning", "note"], text: str) -> dict[str, Code]:
    rows = (line.split(None, 1) for line in text.strip().splitlines() if line.strip())
    return {name: Code(level, summary) for name, summary in rows}


CODES: dict[str, Code] = {
    # --- reading: bytes, YAML, scalars ---
    **_table("error", """
        file-not-found           a file that was named is not there
        file-not-regular         the path is a folder, a pipe or a device
        file-unreadable          the file cannot be opened
        limit-file-size          a recipe is larger than 4 MiB
        limit-depth              a recipe nests deeper than 64 levels
        limit-nodes              a recipe holds, or unfolds into, more than we build
        limit-scalar-size        one text or key is longer than a recipe needs
        limit-alias-expansion    aliases unfold into more than 10 000 values
        limit-int-digits         a number has more than 19 digits
        yaml-empty               the file holds no mapping
        yaml-syntax              the text is not YAML
        yaml-multiple-documents  the file holds more than one document
        yaml-encoding            the bytes are not UTF-8
        yaml-control-character   an invisible or control character stands in the text
        yaml-tag                 a tag (`!name`) or a %-directive stands in the recipe
        yaml-duplicate-key       one mapping has the same key twice
        yaml-key-type            a key is not a text
        yaml-merge-key           the merge key `<<` stands in the recipe
        yaml-alias               an alias without its anchor, an anchor twice, or a cycle
        yaml-merge-conflict      the file holds merge-conflict markers
        yaml-template            a template or shell placeholder stands where a value is wanted
        interpolation            `${...}` stands in the recipe
        foreign-key              `_target_` or another key that would run code or steer Hydra
        confusable-name          a name has letters that only look like the usual ones
        limit-findings           so many findings that reading stopped
    """),
    **_table("warning", """
        old-scalar               a value that YAML 1.1 readers take for something else
        hidden-text              a comment holds characters that reorder or hide text
        version-number           a version was written as a number
    """),
    # --- composing: defaults, overrides, paths ---
    **_table("error", """
        defaults-syntax          the defaults list is malformed
        defaults-unknown         a defaults entry names nothing that is there
        defaults-conflict        the defaults list contradicts itself
        override-syntax          an override cannot be parsed
        override-unknown         an override names a key or group that is not there
        override-conflict        an override adds what is there, or deletes what it does not hold
        override-sweep           a sweep stands where one value is wanted
        path-outside             a path leads outside the recipe's folder
        path-syntax              a path is not a plain relative one
    """),
    **_table("warning", """
        defaults-self            the defaults list does not say where `_self_` stands
        override-repeated        the same key is overridden twice; the last one wins
    """),
    # --- locks ---
    **_table("error", """
        lock-broken              the file beside the recipe is no lock that can be read
        lock-differs             `--frozen`: something is not as it was locked
    """),
    **_table("note", """
        swap-dropped             options of a part that was swapped away were dropped
    """),
    # --- the recipe: keys, names, options ---
    **_table("error", """
        unknown-key              a key that means nothing here
        unknown-kind             no kind of that name
        unknown-option           the kind has no such option
        unknown-version          this release does not know that version of the language or a kind
        missing-key              something that must be stated is not
        missing-value            a key without a value
        value-type               a value of the wrong type
        value-range              a value outside its range
        name-syntax              a name that is not [a-z][a-z0-9_]*
        name-reserved            a name that Python or torch.nn.Module needs for itself
        expression-syntax        a size expression that cannot be read
        expression-limit         a size expression that is too long or nests too deep
        expression-unknown       a size expression uses a name that has no value
        expression-division      a division by zero, or one that leaves a remainder
        dim-range                a size that is not between 1 and 2**31-1
        vars-cycle               vars that need one another
        port-type-syntax         a port type that cannot be read
        pattern-syntax           a rearrange pattern that cannot be read
        name-taken               one name for two things of one graph
        unsupported              a part of the language that this release does not build
        place-conflict           two keys of a node contradict each other
        norm-place               a norm stands where it cannot
    """),
    **_table("warning", """
        vars-shadow              an inner var hides an outer one, or a name of an input
        vars-unused              a var that nothing uses
    """),
    # --- the graph ---
    **_table("error", """
        address-unknown          an address that names nothing
        address-many             an address that names many where one is wanted
        port-unknown             no port of that name
        port-ambiguous           several outputs, and none is the main one
        port-required            an input that must be fed is not
        port-unreached           a container's input that nothing inside takes
        graph-cycle              nodes feed one another in a circle
        inputs-missing           a recipe without inputs
        outputs-missing          a recipe without outputs
        nodes-missing            a recipe without nodes
        slot-unknown             no slot of that name
        slot-unfilled            a slot that nothing fills
        slot-mismatch            what fills a slot does not keep its ports
        slot-cycle               slots or shared parts that contain one another
        argument-unknown         a var handed to a part that it does not have
        rule-unmatched           a rule that matches nothing
        rule-conflict            two rules set one key of one place differently
        order-conflict           `before` and `after` that cannot hold
        init-owner               `init` for values that another node owns
        init-no-writer           `init` where nothing starts by it
        init-no-identity         `init: identity` where nothing is the identity
        init-copy                `init` copies the values of something unlike
        init-circle              values that are copied from one another in a circle
        share-unknown            `same`, `like` or `tie` names nothing
        share-mismatch           shared weights that do not have one shape
        share-cycle              shared weights that lead back to themselves
        bus-in-bus               a bus directly inside a bus
        expert-input             an expert that takes more than its rows
        expert-inside            an address of something inside an expert
        expert-mixes-rows        an expert that looks at rows other than its own
        router-tie               a router that starts with equal scores for all experts
        capacity-drops           rows that are dropped, and that nothing carries past the mixture
        choice-looks-ahead       experts choose among later rows in a causal model
        graft-place              a graft where none can stand
        graft-conflict           several grafts at one place without an order
        gate-not-silent          a gate that must leave the host as it is, and cannot
        blend-not-silent         a blend that must start as the host, and does not
        concat-not-silent        a concat that must leave its readers as they are, and cannot
        replace-not-silent       a part that must start as what it replaces, and cannot
        norm-on-host             a norm on the way of a host that must be undisturbed
        norm-after-zero          a layer that starts at zero in front of a norm
        no-writing-layer         a part that must start at zero has no layer to start so
        loud-graft               a graft that must be silent at the start disturbs its host
    """),
    **_table("warning", """
        node-unused              a node whose outputs nobody reads
        slot-unused              a slot that no node uses
        input-unused             an input that nothing reads
        loss-uncollected         an auxiliary loss that reaches no output
        input-unreached-slot     a container's input that only a slot's filler lacks
    """),
    # --- types ---
    **_table("error", """
        shape-mismatch           two sizes that must be equal are not
        shape-rank               too many or too few axes
        shape-empty              an axis shrinks to nothing
        shape-constraint         a size breaks what the kind demands of it
        dim-rigid                a run-time size stands where a number or another name is wanted
        dim-ambiguous            two widths compete for one size
        dim-underdetermined      a size that nothing determines
        dim-runtime              a parameter's size depends on a run-time size
        dtype-mismatch           two dtypes that must be equal are not
        vocabulary-mismatch      ids from a larger vocabulary than the table has rows
        adapter-refused          the policy does not allow the adapter that is needed
        adapter-unasked          `--frozen`: an adapter that the recipe does not ask for
        limit-equations          sizes so entangled that we stop
        budget-exceeded          more parameters than the budget allows
    """),
    **_table("warning", """
        cost-huge                more parameters than one machine holds
        join-of-one              a join with a single input
    """),
    **_table("note", """
        mixture-unbalanced       a mixture of experts whose router nothing keeps balanced
        adapter-inserted         an adapter was put on an edge
        adapter-unneeded         an adapter was asked for where the types already agree
        entry-guard              a condition on run-time sizes, asserted at the model's entry
    """),
    # --- learning ---
    **_table("error", """
        dead-parameter           a parameter that zeros at the start keep from ever learning
    """),
    **_table("warning", """
        cut-parameter            a trainable parameter that the recipe lets no gradient reach
        twin-parameter           members that start with the same values and learn the same
    """),
    **_table("note", """
        late-parameter           a parameter whose first gradient comes after two steps or more
        not-unfolded             a graph too large for its norms, zeros and gradients to be examined
    """),
    # --- norms ---
    **_table("error", """
        double-softmax           a softmax of probabilities
        norm-of-one              a norm over a single value
        norm-mismatch            an input that wants a norm gets something else
    """),
    **_table("warning", """
        norm-missing             many branches read and write a residual stream without any norm
        final-norm-missing       a head reads the residual stream of a pre-norm stack as it is
    """),
    **_table("note", """
        double-norm              a norm directly behind another
        post-norm-deep           more norms behind adds than train without a warm-up
    """),
    # --- scales, by estimate ---
    **_table("warning", """
        scale-explode            a signal or gradient grows by decades over a chain of maps
        scale-vanish             a signal or gradient shrinks by decades over a chain of maps
        branch-mismatch          branches of very different size are joined
        rank-collapse            the tokens of an output are nearly equal
        score-scale              the scores of an attention are so large that its softmax saturates
        norm-eps                 a norm of what is hardly larger than its eps
    """),
}
