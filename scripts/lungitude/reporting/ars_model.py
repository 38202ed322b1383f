"""The part of CDISC's Analysis Results Standard (ARS) 1.0 that Lungitude writes, and its checks.

Names of classes and slots are those of the standard's logical model
(https://github.com/cdisc-org/analysis-results-standard). The text here is our own: it states the
classes that `ars` writes, closed, and leaves out those that it does not. CDISC's own JSON schema
allows all that this one allows; to validate against a copy of it, give its path to
`faults`.
"""

import json
from functools import cache
from pathlib import Path

ID = "https://www.cdisc.org/ars/1-0"
# Slots by class: a plain type, a class, "A|B" for either, [..] for a list; ! where it is required.
NAMED = {"name": "string!", "label": "string", "description": "string"}
IDENTIFIED = {"id": "string!", "label": "string"}
PLACED = {"level": "integer!", "order": "integer!"}
CLASSES = {
    "ReportingEvent": {
        **NAMED,
        "id": "string!",
        "version": "integer",
        "mainListOfContents": "ListOfContents!",
        "otherListsOfContents": "[ListOfContents]",
        "referenceDocuments": "[ReferenceDocument]",
        "terminologyExtensions": "[TerminologyExtension]",
        "analysisSets": "[AnalysisSet]",
        "analysisGroupings": "[SubjectGroupingFactor]",
        "dataSubsets": "[DataSubset]",
        "dataGroupings": "[DataGroupingFactor]",
        "methods": "[AnalysisMethod]",
        "analyses": "[Analysis]",
        "outputs": "[Output]",
    },
    "ListOfContents": {**NAMED, "contentsList": "NestedList!"},
    "NestedList": {"listItems": "[OrderedListItem]"},
    "OrderedListItem": {
        **NAMED,
        **PLACED,
        "analysisId": "string",
        "outputId": "string",
        "sublist": "NestedList",
    },
    "ReferenceDocument": {**NAMED, "id": "string!", "location": "string"},
    "DocumentReference": {"referenceDocumentId": "string!"},
    "TerminologyExtension": {
        "id": "string!",
        "enumeration": "ExtensibleTerminologyEnum",
        "sponsorTerms": "[SponsorTerm]!",
    },
    "SponsorTerm": {"id": "string!", "submissionValue": "string!", "description": "string"},
    "AnalysisSet": {**IDENTIFIED, **PLACED, "condition": "WhereClauseCondition"},
    "DataSubset": {
        **IDENTIFIED,
        **PLACED,
        "condition": "WhereClauseCondition",
        "compoundExpression": "CompoundSubsetExpression",
    },
    "CompoundSubsetExpression": {
        "logicalOperator": "ExpressionLogicalOperatorEnum!",
        "whereClauses": "[WhereClause]",
    },
    "WhereClause": {**PLACED, "condition": "WhereClauseCondition"},
    "WhereClauseCondition": {
        "dataset": "string",
        "variable": "string",
        "comparator": "ConditionComparatorEnum",
        "value": "[string]",
    },
    "SubjectGroupingFactor": {
        **IDENTIFIED,
        "dataDriven": "boolean!",
        "groupingDataset": "string",
        "groupingVariable": "string",
        "groups": "[AnalysisGroup]",
    },
    "AnalysisGroup": {**IDENTIFIED, **PLACED, "condition": "WhereClauseCondition"},
    "DataGroupingFactor": {
        **IDENTIFIED,
        "dataDriven": "boolean!",
        "groupingDataset": "string",
        "groupingVariable": "string",
    },
    "AnalysisMethod": {
        **NAMED,
        "id": "string!",
        "operations": "[Operation]!",
        "documentRefs": "[DocumentReference]",
    },
    "Operation": {**NAMED, "id": "string!", "order": "integer!", "resultPattern": "string"},
    "Analysis": {
        **NAMED,
        "id": "string!",
        "version": "integer",
        "reason": "AnalysisReason!",
        "purpose": "AnalysisPurpose|SponsorAnalysisPurpose!",
        "documentRefs": "[DocumentReference]",
        "analysisSetId": "string",
        "dataSubsetId": "string",
        "dataset": "string",
        "variable": "string",
        "orderedGroupings": "[OrderedGroupingFactor]",
        "methodId": "string!",
        "programmingCode": "AnalysisOutputProgrammingCode",
        "results": "[OperationResult]",
    },
    "AnalysisReason": {"controlledTerm": "AnalysisReasonEnum!"},
    "AnalysisPurpose": {"controlledTerm": "AnalysisPurposeEnum!"},
    "SponsorAnalysisPurpose": {"sponsorTermId": "string!"},
    "OrderedGroupingFactor": {
        "order": "integer!",
        "groupingId": "string!",
        "resultsByGroup": "boolean!",
    },
    "AnalysisOutputProgrammingCode": {
        "context": "string!",
        "documentRef": "DocumentReference",
    },
    "OperationResult": {
        "operationId": "string!",
        "resultGroups": "[ResultGroup]",
        "rawValue": "string",
        "formattedValue": "string",
    },
    "ResultGroup": {"groupingId": "string!", "groupId": "string", "groupValue": "string"},
    "Output": {
        **NAMED,
        "id": "string!",
        "version": "integer",
        "displays": "[OrderedDisplay]!",
        "fileSpecifications": "[OutputFile]",
    },
    "OrderedDisplay": {"order": "integer!", "display": "OutputDisplay!"},
    "OutputDisplay": {
        **NAMED,
        "id": "string!",
        "displayTitle": "string",
        "displaySections": "[DisplaySection]",
    },
    "DisplaySection": {
        "sectionType": "DisplaySectionTypeEnum",
        "orderedSubSections": "[OrderedSubSection]",
    },
    "OrderedSubSection": {"order": "integer!", "subSection": "DisplaySubSection!"},
    "DisplaySubSection": {"id": "string!", "text": "string!"},
    "OutputFile": {
        **NAMED,
        "location": "string",
        "fileType": "OutputFileType|SponsorOutputFileType",
    },
    "OutputFileType": {"controlledTerm": "OutputFileTypeEnum!"},
    "SponsorOutputFileType": {"sponsorTermId": "string!"},
}
TERMS = {
    "AnalysisReasonEnum": [
        "SPECIFIED IN PROTOCOL",
        "SPECIFIED IN SAP",
        "DATA DRIVEN",
        "REQUESTED BY REGULATORY AGENCY",
    ],
    "AnalysisPurposeEnum": [
        "PRIMARY OUTCOME MEASURE",
        "SECONDARY OUTCOME MEASURE",
        "EXPLORATORY OUTCOME MEASURE",
    ],
    "ConditionComparatorEnum": "EQ NE GT GE LT LE IN NOTIN".split(),
    "ExpressionLogicalOperatorEnum": ["AND", "OR", "NOT"],
    "DisplaySectionTypeEnum": [
        "Header",
        "Title",
        "Rowlabel Header",
        "Legend",
        "Abbreviation",
        "Footnote",
        "Footer",
    ],
    "OutputFileTypeEnum": ["pdf", "rtf", "txt"],
    "ExtensibleTerminologyEnum": [
        "AnalysisReasonEnum",
        "AnalysisPurposeEnum",
        "OperationRoleEnum",
        "OutputFileTypeEnum",
    ],
}
PLAIN = ("string", "integer", "boolean")


@cache
def schema():
    """Return the JSON schema (draft 7) of what Lungitude writes."""
    made = {
        name: {"type": "object", "additionalProperties": False, **_slots(slots)}
        for name, slots in CLASSES.items()
    }
    made.update({name: {"type": "string", "enum": terms} for name, terms in TERMS.items()})
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": f"{ID}/lungitude",
        "$ref": "#/$defs/ReportingEvent",
        "$defs": made,
    }


def _slots(slots):
    return {
        "properties": {name: _type(kind.rstrip("!")) for name, kind in slots.items()},
        "required": [name for name, kind in slots.items() if kind.endswith("!")],
    }


def _type(kind):
    if kind.startswith("["):
        return {"type": "array", "items": _type(kind[1:-1])}
    if "|" in kind:
        return {"anyOf": [_type(one) for one in kind.split("|")]}
    return {"type": kind} if kind in PLAIN else {"$ref": f"#/$defs/{kind}"}


def faults(event, path=None):
    """Return what is wrong with a reporting event, one line a fault.

    Parameters
    ----------
    event : dict
    path : path, optional
        CDISC's own schema (``ars_ldm.schema.json``), taken beside the one of this module.

    Returns
    -------
    list of str
        Where the schema is broken; where an identifier is given twice or leads nowhere.
    """
    import jsonschema

    schemas = [schema()]
    if path:
        schemas.append(json.loads(Path(path).read_text(encoding="utf-8")))
    lines = []
    for one in schemas:
        for error in jsonschema.Draft7Validator(one).iter_errors(event):
            where = "/".join(map(str, error.absolute_path)) or "top"
            lines.append(f"{where}: {error.message[:200]}")
    return lines or [*_doubles(event), *_loose_ends(event)]


# Where identifiers are given, and the slots that refer to them.
GIVEN = {
    "analysisSetId": ("analysisSets",),
    "dataSubsetId": ("dataSubsets",),
    "groupingId": ("analysisGroupings", "dataGroupings"),
    "methodId": ("methods",),
    "analysisId": ("analyses",),
    "outputId": ("outputs",),
    "referenceDocumentId": ("referenceDocuments",),
}


def _known(event):
    """Return the identifiers that each kind of reference may name."""
    known = {
        slot: [item["id"] for place in places for item in event.get(place, ())]
        for slot, places in GIVEN.items()
    }
    known["operationId"] = [o["id"] for method in event["methods"] for o in method["operations"]]
    known["groupId"] = [
        group["id"] for one in event["analysisGroupings"] for group in one.get("groups", ())
    ]
    known["sponsorTermId"] = [
        term["id"] for one in event.get("terminologyExtensions", ()) for term in one["sponsorTerms"]
    ]
    return known


def _doubles(event):
    for slot, names in _known(event).items():
        seen = set()
        for name in names:
            if name in seen:
                yield f"{name}: given twice ({slot})"
            seen.add(name)


def _loose_ends(event):
    known = {slot: set(names) for slot, names in _known(event).items()}
    missing = {}

    def walk(node):
        if isinstance(node, dict):
            for name, value in node.items():
                if name in known and isinstance(value, str):
                    if value not in known[name]:
                        missing[name, value] = None
                else:
                    walk(value)
        elif isinstance(node, list):
            for item in node:
                walk(item)

    walk(event)
    for slot, value in missing:
        yield f"{value}: named as {slot}, but not given"
    for analysis in event["analyses"]:
        for result in analysis["results"]:
            if not result["operationId"].startswith(f"{analysis['methodId']}."):
                yield (
                    f"{analysis['id']}: {result['operationId']} is no operation of its method "
                    f"{analysis['methodId']}"
                )
