{{
    config(
        materialized="incremental",
        incremental_strategy="append",
        on_schema_change="fail",
        pre_hook="{{ delete_stale_days(ref('int_sale_lines'), 'ordered_at', derived=['sale_key']) }}",
        post_hook=["{{ remember(**inputs_of_sales()) }}", "{{ mark_written_days('ordered_at') }}"],
    )
}}

{% set days = changed_days(**inputs_of_sales()) %}

with

    sale_lines as (select * from {{ ref("int_sale_lines") }} where {{ missing_days("ordered_at", days) }}),

    final as (select {{ surrogate_key(["order_id", "line_number"]) }} as sale_key, * from sale_lines)

select *
from final
