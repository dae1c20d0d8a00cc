{% set first_day = "cast('" ~ var("calendar_from") ~ "' as date)" %}
{% set end_day = "cast('" ~ var("calendar_until") ~ "' as date)" %}

with

    days as ({{ dbt.date_spine("day", first_day, end_day) }}),

    sales as (

        select min(local_date) as first_sale_date, max(local_date) as last_sale_date
        from {{ ref("int_local_days") }}
        where local_date >= {{ first_day }} and local_date < {{ end_day }}

    ),

    holidays as (select * from {{ ref("holidays_us") }} where country_code = '{{ var("holiday_country") }}'),

    -- whole years: from the year of the first sale to the year after the last one
    bounds as (

        select
            cast({{ dbt.date_trunc("year", "coalesce(first_sale_date, current_date)") }} as date) as from_date,
            cast(
                {{ dbt.date_trunc("year", dbt.dateadd("year", 2, "coalesce(last_sale_date, current_date)")) }} as date
            ) as until_date
        from sales

    ),

    calendar as (

        select cast(days.date_day as date) as date_day
        from days
        inner join
            bounds
            on cast(days.date_day as date) >= bounds.from_date
            and cast(days.date_day as date) < bounds.until_date

    ),

    known as (

        select
            {{ date_key("calendar.date_day") }} as date_key,
            calendar.date_day,
            cast(extract(year from calendar.date_day) as integer) as year_number,
            cast(extract(quarter from calendar.date_day) as integer) as quarter_number,
            cast(extract(month from calendar.date_day) as integer) as month_number,
            monthname(calendar.date_day) as month_name,
            cast({{ dbt.date_trunc("month", "calendar.date_day") }} as date) as month_start_date,
            cast(extract(isoyear from calendar.date_day) as integer) as iso_year_number,
            cast(extract(week from calendar.date_day) as integer) as week_number,
            cast({{ dbt.date_trunc("week", "calendar.date_day") }} as date) as week_start_date,
            cast(extract(day from calendar.date_day) as integer) as day_of_month_number,
            cast(extract(isodow from calendar.date_day) as integer) as day_of_week_number,
            dayname(calendar.date_day) as day_name,
            extract(isodow from calendar.date_day) >= 6 as is_weekend,
            holidays.holiday_date is not null as is_holiday,
            holidays.holiday_name
        from calendar
        left join holidays on calendar.date_day = holidays.holiday_date

    ),

    unknown as (

        select
            -1 as date_key,
            cast(null as date) as date_day,
            cast(null as integer) as year_number,
            cast(null as integer) as quarter_number,
            cast(null as integer) as month_number,
            'unknown' as month_name,
            cast(null as date) as month_start_date,
            cast(null as integer) as iso_year_number,
            cast(null as integer) as week_number,
            cast(null as date) as week_start_date,
            cast(null as integer) as day_of_month_number,
            cast(null as integer) as day_of_week_number,
            'unknown' as day_name,
            false as is_weekend,
            false as is_holiday,
            cast(null as varchar) as holiday_name

    ),

    final as (

        select *
        from known
        union all
        select *
        from unknown

    )

select *
from final
